// A program of somebody who talks with @google/genai's Live: one session of two turns, what came back as JSON.
// tests/sdk/test_live.py runs it with WEIR_URL and WEIR_KEY in the environment. It asserts nothing.
import { GoogleGenAI, Modality } from "@google/genai";

const client = new GoogleGenAI({
  apiKey: process.env.WEIR_KEY,
  httpOptions: { baseUrl: process.env.WEIR_URL },
});

let heard; // called with each message
let closed;
const end = new Promise((resolve) => (closed = resolve));
const session = await client.live.connect({
  model: "gemini-3.8-live",
  config: { responseModalities: [Modality.TEXT] },
  callbacks: {
    onmessage: (message) => heard?.(message),
    onerror: (error) => console.error(error.message),
    onclose: ({ code }) => closed(code),
  },
});

const turns = [];
for (const text of ["Why do butterflies have scales?", "And why do fish?"]) {
  const turn = { text: "" };
  const over = new Promise((resolve) => {
    heard = (message) => {
      turn.text += message.text ?? "";
      const used = message.usageMetadata;
      if (used) {
        turn.usage = { input: used.promptTokenCount, output: used.responseTokenCount, total: used.totalTokenCount };
      }
      if (message.serverContent?.turnComplete) resolve();
    };
  });
  session.sendClientContent({ turns: [{ role: "user", parts: [{ text }] }], turnComplete: true });
  await over;
  turns.push(turn);
}
session.close();
process.stdout.write(JSON.stringify({ turns, closed: await end }));
