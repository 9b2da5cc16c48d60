"""The usage log as FOCUS 1.2, the FinOps Open Cost and Usage Specification: what Google charges, as cost tools read it.

`export.py` runs it. One row is a meter of a model on one day, for one team, tier, region and endpoint. All 21
mandatory columns are there, and of the conditional ones those that a record can fill. It exports what Google charges,
not what a team pays: a team's price belongs to a whole exchange and cannot be divided by meter.
"""

from proxy.cli.usage.query import AMOUNT, literal

FIELDS = ("endpoint", "region", "location", "api", "tier", "pricing", "cost_currency", "charges")
# Meters that count something else than tokens, and its name. A token's rate is for a million (ChargeLine.rate).
_UNITS = {
    "images": "Images",
    "search_queries": "Queries",
    "search_prompts": "Prompts",
    "video_seconds": "Seconds",
}
_SERVICE = "CASE api WHEN 'vertex' THEN 'Vertex AI' ELSE 'Gemini API' END"
_IN_TOKENS = f"meter NOT IN ({', '.join(map(literal, _UNITS))})"
_UNIT = f"CASE meter {' '.join(f'WHEN {literal(meter)} THEN {literal(unit)}' for meter, unit in _UNITS.items())} END"
# Multiplied by a millionth and not divided by a million: division would leave decimals.
_QUANTITY = (
    f"CAST(CASE WHEN {_IN_TOKENS} THEN CAST(quantity AS DECIMAL(20, 0)) * CAST('0.000001' AS DECIMAL(7, 6)) "
    "ELSE quantity END AS DECIMAL(26, 6))"
)

# In the specification's words; https://focus.finops.org/focus-specification/v1-2/
COLUMNS = {
    "BilledCost": "cost",
    "BillingAccountId": "account",
    "BillingAccountName": "account",
    "BillingCurrency": "cost_currency",
    "BillingPeriodEnd": "date_trunc('month', day) + INTERVAL 1 MONTH",
    "BillingPeriodStart": "date_trunc('month', day)",
    "ChargeCategory": "'Usage'",
    "ChargeClass": "NULL::VARCHAR",
    "ChargeDescription": "concat(model, ' ', meter, ', ', tier, ': ', written, ' ', cost_currency, ' for ', per)",
    "ChargeFrequency": "'Usage-Based'",
    "ChargePeriodEnd": "day + INTERVAL 1 DAY",
    "ChargePeriodStart": "day + INTERVAL 0 DAY",
    "ConsumedQuantity": "quantity",
    "ConsumedUnit": "unit",
    "ContractedCost": "cost",
    "ContractedUnitPrice": "rate",
    "EffectiveCost": "cost",
    "InvoiceIssuerName": "'Google Cloud'",
    "ListCost": "cost",
    "ListUnitPrice": "rate",
    "PricingCategory": "CASE tier WHEN 'prepaid' THEN 'Committed' ELSE 'Standard' END",
    "PricingQuantity": "pricing_quantity",
    "PricingUnit": "per",
    "ProviderName": "'Google Cloud'",
    "PublisherName": "'Google'",
    "RegionId": "region",
    "RegionName": "region",
    "ResourceId": "model",
    "ResourceName": "model",
    "ResourceType": "'Model'",
    "ServiceCategory": "'AI and Machine Learning'",
    "ServiceName": "service",
    "ServiceSubcategory": "'Generative AI'",
    "SkuId": "concat(service, '/', model, '/', meter)",
    "SkuMeter": "meter",
    "SkuPriceDetails": "CAST(json_object('x_Model', model, 'x_Tier', tier) AS VARCHAR)",
    "SkuPriceId": "concat(service, '/', model, '/', meter, '/', tier, '/', region)",
    "SubAccountId": "team",
    "SubAccountName": "team",
    "Tags": "CAST(json_object('weir/team', team, 'weir/model', model, 'weir/tier', tier, 'weir/endpoint', endpoint) "
    "AS VARCHAR)",
    "x_Exchanges": "exchanges",
    "x_Pricing": "pricing",
}
_MOMENTS = {"BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart"}


def focus_query(billing_account: str | None) -> str:
    """All rows over the table `records`. Without an account's name, the endpoint whose credential paid is it."""
    account = "endpoint" if billing_account is None else literal(billing_account)
    columns = ", ".join(f"{_typed(name, column)} AS {name}" for name, column in COLUMNS.items())
    return f"""
        WITH lines AS (
            SELECT CAST(time[:10] AS DATE) AS day, team, coalesce(model, 'unknown') AS model,
                   coalesce(tier, 'standard') AS tier, coalesce(location, region) AS region, endpoint,
                   {_SERVICE} AS service, pricing, cost_currency, unnest(charges) AS line
            FROM records WHERE cost IS NOT NULL
        ), summed AS (
            SELECT day, team, model, tier, region, endpoint, service, pricing, cost_currency, line.meter AS meter,
                   line.rate AS written, CAST(line.rate AS {AMOUNT}) AS rate,
                   CAST(sum(line.quantity) AS BIGINT) AS quantity,
                   sum(amount(line.cost)) AS cost, count(*) AS exchanges
            FROM lines GROUP BY ALL
        ), named AS (
            SELECT *, coalesce({account}, 'unknown') AS account, {_QUANTITY} AS pricing_quantity,
                   CASE WHEN {_IN_TOKENS} THEN '1000000 Tokens' ELSE {_UNIT} END AS per,
                   CASE WHEN {_IN_TOKENS} THEN 'Tokens' ELSE {_UNIT} END AS unit
            FROM summed
        )
        SELECT {columns} FROM named ORDER BY ChargePeriodStart, SubAccountId, SkuPriceId, ListUnitPrice
    """


def _typed(name: str, column: str) -> str:
    return f"strftime({column}, '%Y-%m-%dT%H:%M:%SZ')" if name in _MOMENTS else column
