// A program of somebody who uploads with @google/genai: a small and a large file, used, fetched and deleted; as JSON.
// tests/sdk/test_files.py runs it with WEIR_URL and WEIR_KEY in the environment. It asserts nothing.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ApiError, GoogleGenAI } from "@google/genai";

const { files, models } = new GoogleGenAI({
  apiKey: process.env.WEIR_KEY,
  httpOptions: { baseUrl: process.env.WEIR_URL },
});
const described = (file) => ({
  size: Number(file.sizeBytes),
  mime: file.mimeType,
  sha256: Buffer.from(file.sha256Hash, "base64").toString(),
  uri: file.uri,
  name: file.name,
});
const folder = await mkdtemp(join(tmpdir(), "weir-"));
const seen = {};

const small = await files.upload({
  file: new Blob(["A weir lets the river through."]),
  config: { mimeType: "text/plain", displayName: "small" },
});
seen.small = described(small);

const path = join(folder, "large.bin");
await writeFile(path, Buffer.alloc(20 << 20, Buffer.from([...Array(256).keys()]))); // chunks of 8, 8 and 4 MiB
const large = await files.upload({ file: path, config: { mimeType: "application/octet-stream" } });
seen.large = described(large);

const { name } = large;
seen.got = described(await files.get({ name }));
const part = { fileData: { fileUri: large.uri, mimeType: large.mimeType } };
seen.answer = (await models.generateContent({ model: "gemini-2.5-flash", contents: ["What is it?", part] })).text;

const downloadPath = join(folder, "small.txt");
await files.download({ file: small.name, downloadPath });
seen.downloaded = await readFile(downloadPath, "utf8");

await files.delete({ name: small.name });
await files.delete({ name });
try {
  await files.get({ name });
} catch (error) {
  if (!(error instanceof ApiError)) throw error;
  seen.error = { type: error.name, code: error.status, status: JSON.parse(error.message).error.status };
}

await rm(folder, { recursive: true });
process.stdout.write(JSON.stringify(seen));
