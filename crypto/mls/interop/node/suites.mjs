// Cipher suites that ts-mls 2 lacks, built from its own parts: the three rows with KEM
// 0x647a (ML-KEM-768 with X25519) that other stacks number 0x004D, 0x004E and 0x004F.
import { XWing } from "@hpke/hybridkem-x-wing"
import { shake256 } from "@noble/hashes/sha3.js"
import { internal } from "./internals.mjs"

const part = (name) => internal("ts-mls-2", `crypto/implementation/default/${name}.js`)
const { makeHpke } = await part("makeHpke")
const { makeHashImpl } = await part("makeHashImpl")
const { makeKdf, makeKdfImpl } = await part("makeKdfImpl")
const { makeNobleSignatureImpl } = await part("makeNobleSignatureImpl")
const { defaultRng } = await part("rng")

const rows = {
  0x004d: { aead: "CHACHA20POLY1305", kdf: "HKDF-SHA256", hash: "SHA-256", labelled: false },
  0x004e: { aead: "AES256GCM", kdf: "HKDF-SHA384", hash: "SHA-384", labelled: true },
  0x004f: { aead: "AES128GCM", kdf: "HKDF-SHA256", hash: "SHA-256", labelled: true },
}

/** The implementation of suite id, or undefined if it is not one of ours. */
export async function customSuite(id) {
  const row = rows[id]
  if (row === undefined) return undefined
  const hpke = await makeHpke({ kem: "X-Wing", kdf: row.kdf, aead: row.aead })
  return {
    id,
    kdf: makeKdfImpl(makeKdf(row.kdf)),
    hash: makeHashImpl(crypto.subtle, row.hash),
    signature: await makeNobleSignatureImpl("Ed25519"),
    hpke: row.labelled ? { ...hpke, deriveKeyPair } : hpke,
    rng: defaultRng,
  }
}

const kem = new XWing()

/**
 * DeriveKeyPair of draft-ietf-hpke-pq: the seed is LabeledDerive with SHAKE256, where the
 * library follows draft-connolly-cfrg-xwing-kem and hashes the input without a label.
 */
async function deriveKeyPair(ikm) {
  const text = (s) => new TextEncoder().encode(s)
  const label = text("DeriveKeyPair")
  const length = 32
  const input = [...ikm, ...text("HPKE-v1"), ...text("KEM"), 0x64, 0x7a, 0, label.length, ...label, 0, length]
  return kem.generateKeyPairDerand(shake256(new Uint8Array(input), { dkLen: length }))
}
