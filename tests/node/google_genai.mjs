// A program of somebody who uses @google/genai: each call once, what came back as JSON.
// tests/sdk/test_google_genai_js.py runs it with WEIR_URL and WEIR_KEY in the environment. It asserts nothing.
import { createHash } from "node:crypto";
import { ApiError, GoogleGenAI } from "@google/genai";

const TEXT = "gemini-2.5-flash";
const contents = "Why do butterflies have scales?";
const { models } = new GoogleGenAI({
  apiKey: process.env.WEIR_KEY,
  httpOptions: { baseUrl: process.env.WEIR_URL },
});

const usage = ({ usageMetadata: found }) => ({
  input: found.promptTokenCount ?? null,
  output: found.candidatesTokenCount ?? null,
  thought: found.thoughtsTokenCount ?? null,
  total: found.totalTokenCount ?? null,
});

const seen = {};

const whole = await models.generateContent({ model: TEXT, contents });
seen.generate = { text: whole.text, usage: usage(whole), model: whole.modelVersion };

const chunks = [];
for await (const chunk of await models.generateContentStream({ model: TEXT, contents })) chunks.push(chunk);
seen.stream = { text: chunks.map((chunk) => chunk.text ?? "").join(""), chunks: chunks.length, usage: usage(chunks.at(-1)) };

const drawn = await models.generateContent({
  model: "gemini-3-pro-image-preview",
  contents,
  config: { responseModalities: ["TEXT", "IMAGE"], imageConfig: { aspectRatio: "1:1", imageSize: "1K" } },
});
const image = drawn.candidates[0].content.parts.find((part) => part.inlineData).inlineData;
const bytes = Buffer.from(image.data, "base64");
seen.image = {
  mime: image.mimeType,
  size: [bytes.readUInt32BE(16), bytes.readUInt32BE(20)], // of a PNG's header chunk: RFC 2083, 4.1.1
  sha256: createHash("sha256").update(bytes).digest("hex"),
  usage: usage(drawn),
};

seen.count = (await models.countTokens({ model: TEXT, contents })).totalTokens;

seen.models = [];
for await (const model of await models.list()) seen.models.push(model.name);
seen.models.sort();

try {
  await models.generateContent({ model: "no-such-model", contents });
} catch (error) {
  if (!(error instanceof ApiError)) throw error;
  const { code, status, message } = JSON.parse(error.message).error;
  seen.error = { type: error.name, code: error.status, status, message, body_code: code };
}

process.stdout.write(JSON.stringify(seen));
