// Answers calls of ../interop_test.go: one JSON object a line, {call, params}
// in, {result} or {error} out, in order. The library's bytes are base64url.
import { createInterface } from "node:readline";
import * as opaque from "@serenity-kit/opaque";

await opaque.ready;
for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const { call, params } = JSON.parse(line);
    const [side, step] = call.split(".");
    answer = { result: opaque[side][step](params) ?? null };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
