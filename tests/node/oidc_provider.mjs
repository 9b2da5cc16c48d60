// oidc-provider, an OpenID-certified library, as a provider of RFC 9068 access tokens for one client.
// Prints its address as JSON when it listens; ends when its standard input does.
// It knows of no gateway: tests/plugins/auth/test_providers.py asks it for tokens as anybody would.
import { createServer } from "node:http";
import Provider from "oidc-provider";

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: "renders",
        client_secret: "not-a-secret",
        grant_types: ["client_credentials"],
        redirect_uris: [],
        response_types: [],
        scope: "gemini",
      },
    ],
    scopes: ["openid", "gemini"],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => "urn:weir",
        getResourceServerInfo: () => ({
          scope: "gemini",
          audience: "urn:weir",
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: "RS256" } },
        }),
      },
    },
    extraTokenClaims: () => ({ groups: ["ml-studio"] }),
  });
  server.on("request", provider.callback());
  console.log(JSON.stringify({ issuer }));
});

process.stdin.on("end", () => process.exit()).resume();
