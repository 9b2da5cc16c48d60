// oauth2-mock-server: signs whatever claims it is told to, with keys that it makes on demand.
// Prints its address as JSON when it listens. Each line of standard input is a JSON command and gets one
// line back: {"generate": "ES256"} publishes one more key and says its kid; {"sign": {claims}} gives a token
// by the next of its keys, {"sign": {claims}, "with": kid} by that one. Ends when its standard input does.
import { createInterface } from "node:readline";
import { OAuth2Server } from "oauth2-mock-server";

const server = new OAuth2Server();
await server.issuer.keys.generate("RS256");
await server.start(0, "127.0.0.1");
console.log(JSON.stringify({ issuer: server.issuer.url }));

async function obey(command) {
  if (command.generate) return { kid: (await server.issuer.keys.generate(command.generate)).kid };
  const token = await server.issuer.buildToken({
    kid: command.with,
    scopesOrTransform: (header, payload) => Object.assign(payload, command.sign),
  });
  return { token };
};

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await obey(JSON.parse(line))));
};
await server.stop();
