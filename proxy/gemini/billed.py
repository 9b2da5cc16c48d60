"""Whether Google bills an exchange at all, from its record alone.

`prices.py` asks before it counts anything. The names are those of `paths.py`; a test holds every operation there to
one of the tables here. It refuses to call free what it does not know.
"""

from enum import Enum

from proxy.record import UsageRecord
from proxy.usage import AttemptRecord, Outcome


class Billed(Enum):
    """What a record is to its bill."""

    BY_USAGE = "its counts"
    BY_ESTIMATE = "what it asked for: it ran, or may have run, and nothing was counted"
    FREE = "nothing ran, or what ran costs nothing"
    ELSEWHERE = "its cost comes with another record, or cannot be told"


RUNS = frozenset(
    {
        *("generateContent", "streamGenerateContent", "embedContent", "batchEmbedContents", "predict", "directPredict"),
        *("rawPredict", "streamRawPredict", "serverStreamingPredict", "predictLongRunning", "generateAnswer"),
        *("generateMessage", "generateText", "embedText", "batchEmbedText", "invoke", "live", "live.music"),
        *("interactions.create", "interactions.createStream", "chat.completions", "completions", "embeddings"),
        *("images.generations", "images.edits", "audio.speech", "audio.transcriptions", "responses", "videos"),
    }
)
# They only begin what runs later: a batch is billed when its results are read (Gemini fact 4.4), an agent or a tuning
# by its own bill. An amount here would be counted twice, and a zero would hide results that nobody reads.
BEGINS = frozenset(
    {
        *("batchGenerateContent", "asyncBatchEmbedContent", "batchPredictionJobs.create", "batches.create"),
        *("batches.updateEmbedContentBatch", "batches.updateGenerateContentBatch", "agents.create"),
        *("triggers.create", "triggers.patch", "tunedModels.create", "tuningJobs.create"),
        "tuningJobs.rebaseTunedModel",
    }
)
FREE = frozenset({"countTokens", "computeTokens", "countMessageTokens", "countTextTokens", "fetchPredictOperation"})
# Free, unless they bring the results of a batch: what has a name to be charged under, and no counts, was not read.
_MAY_BRING_RESULTS = frozenset({"files.download", "files.content"})
_READS = frozenset({"GET", "HEAD"})
# A caller that went away or was refused is known to have reached no endpoint where no attempt says otherwise. Of a lost
# exchange the attempts may not have been written down.
_KNOWN_ENDS = frozenset(Outcome) - {Outcome.LOST}


def billed(record: UsageRecord) -> Billed:
    if record.usage is not None:
        return Billed.BY_USAGE
    ran = any(map(_ran, record.attempts)) or (not record.attempts and record.outcome not in _KNOWN_ENDS)
    name = record.operation
    if name in _MAY_BRING_RESULTS and record.once is not None:
        return Billed.ELSEWHERE
    # A name with a dot is a resource's: to list, read or change it costs nothing, but for those above.
    if not ran or name in FREE or ("." in name and name not in RUNS and name not in BEGINS):
        return Billed.FREE
    if name in RUNS:
        return Billed.BY_ESTIMATE
    return Billed.FREE if record.method in _READS and name not in BEGINS else Billed.ELSEWHERE


def _ran(attempt: AttemptRecord) -> bool:
    """The endpoint ran it, or may have. Failed requests are not billed (Gemini fact 5)."""
    if attempt.status is not None:
        return attempt.status < 400
    return attempt.sent or attempt.error is None  # cut short before anything was known
