// A program of somebody who uses openai-node with Gemini: each call once, what came back as JSON.
// tests/sdk/test_openai.py runs it with WEIR_URL and WEIR_KEY in the environment. It asserts nothing.
import OpenAI, { APIError } from "openai";

const model = "gemini-2.5-flash";
const messages = [{ role: "user", content: "Why do butterflies have scales?" }];
const client = new OpenAI({
  apiKey: process.env.WEIR_KEY,
  baseURL: `${process.env.WEIR_URL}/v1beta/openai/`,
  maxRetries: 0,
});

const usage = (found) => ({ input: found.prompt_tokens, output: found.completion_tokens, total: found.total_tokens });
const seen = {};

const whole = await client.chat.completions.create({ model, messages });
seen.generate = { text: whole.choices[0].message.content, usage: usage(whole.usage) };

const chunks = [];
const stream = await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } });
for await (const chunk of stream) chunks.push(chunk);
seen.stream = {
  text: chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""),
  chunks: chunks.length,
  usage: usage(chunks.findLast((chunk) => chunk.usage).usage),
};

const embedding = await client.embeddings.create({ model: "gemini-embedding-2", input: messages[0].content });
seen.embed = embedding.data[0].embedding;

seen.models = [];
for await (const { id } of client.models.list()) seen.models.push(id);
seen.models.sort();

try {
  await client.chat.completions.create({ model: "no-such-model", messages });
} catch (error) {
  if (!(error instanceof APIError)) throw error;
  seen.error = { type: error.constructor.name, code: error.status, message: error.message };
}

process.stdout.write(JSON.stringify(seen));
