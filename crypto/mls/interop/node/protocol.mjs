// The loop of a test peer: one JSON request per line on standard input, one JSON answer
// per line on standard output, in order. See ../README.md for the operations.
import { createInterface } from "node:readline"

export const hex = (bytes) => Buffer.from(bytes).toString("hex")

/** Decodes lower-case hex; throws on anything else, so that a wrong argument is named. */
export function bytes(text, name) {
  if (typeof text !== "string" || !/^([0-9a-f]{2})*$/.test(text)) throw new Error(`${name} must be lower-case hex`)
  return new Uint8Array(Buffer.from(text, "hex"))
}

/** Answers requests with the methods of peer until standard input ends. */
export async function serve(peer) {
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    if (line !== "") process.stdout.write(JSON.stringify(await answer(peer, line)) + "\n")
  }
}

async function answer(peer, line) {
  try {
    const { op, ...args } = JSON.parse(line)
    if (!peer.ops.includes(op)) throw new Error(`unknown op ${JSON.stringify(op)}: use one of ${peer.ops.join(", ")}`)
    return { ok: true, ...(await peer[op](args)) }
  } catch (err) {
    return { ok: false, error: `${err?.name ?? "Error"}: ${err?.message ?? err}` }
  }
}
