// A program of somebody who talks with @google/genai's Live: a session resumed, its turns, a function call, a warning.
// tests/sdk/test_live.py runs it with WEIR_URL and WEIR_KEY in the environment. It asserts nothing.
import { GoogleGenAI, Modality } from "@google/genai";

const client = new GoogleGenAI({
  apiKey: process.env.WEIR_KEY,
  httpOptions: { baseUrl: process.env.WEIR_URL },
});

let heard; // called with each message
const early = []; // that came before the first turn
let closed;
const end = new Promise((resolve) => (closed = resolve));
const session = await client.live.connect({
  model: "gemini-3.8-live",
  config: { responseModalities: [Modality.TEXT], sessionResumption: { handle: "of a session before" } },
  callbacks: {
    onmessage: (message) => (heard ? heard(message) : early.push(message)),
    onerror: (error) => console.error(error.message),
    onclose: ({ code }) => closed(code),
  },
});

const turns = [];
for (const texts of [["Why do butterflies have scales?"], ["And why do fish?"], ["/goaway", "/call look_up"]]) {
  const turn = { text: "", events: [] };
  const over = new Promise((resolve) => {
    heard = (message) => {
      turn.text += message.text ?? "";
      const { sessionResumptionUpdate: update, goAway, toolCall } = message;
      if (update) turn.events.push(["resumption", update.newHandle]);
      if (goAway) turn.events.push(["go away", goAway.timeLeft]);
      for (const { id, name, args } of toolCall?.functionCalls ?? []) {
        turn.events.push(["call", name, args]);
        session.sendToolResponse({ functionResponses: [{ id, name, response: { found: "Wünsche" } }] });
      }
      const used = message.usageMetadata;
      if (used) {
        turn.usage = { input: used.promptTokenCount, output: used.responseTokenCount, total: used.totalTokenCount };
      }
      if (message.serverContent?.turnComplete) resolve();
    };
  });
  early.splice(0).forEach(heard);
  for (const text of texts) {
    session.sendClientContent({ turns: [{ role: "user", parts: [{ text }] }], turnComplete: true });
  }
  await over;
  turns.push(turn);
}
session.close();
process.stdout.write(JSON.stringify({ turns, closed: await end }));
