// Variable-length vectors of RFC 9420 §2.1.2, for the one field that ts-mls writes
// without its length: external_pub (§12.4.3.2).

/** Puts data's length before it. */
export function prefixed(data) {
  const n = data.length
  const head = n < 0x40 ? [n] : [0x40 | (n >> 8), n & 0xff]
  if (n > 0x3fff) throw new Error("external_pub is longer than 16383 bytes")
  return new Uint8Array([...head, ...data])
}

/** Takes the length off data and checks it. */
export function unprefixed(data) {
  const long = data[0] >> 6 === 1
  const n = long ? ((data[0] & 0x3f) << 8) | data[1] : data[0]
  const body = data.subarray(long ? 2 : 1)
  if (data[0] >> 6 > 1 || body.length !== n) throw new Error("external_pub has a wrong length prefix")
  return body
}
