// Cap'n Proto messages as plain objects, by the tables of schema.mjs: what this protocol
// needs of https://capnproto.org/encoding.html, and no more.
//
// A struct is an object with the schema's field names; UInt64 are BigInt, Data is a
// Buffer, an enum its number. Fields that are missing are the schema's defaults.
import { structs } from './schema.mjs';

const WORD = 8;
const widths = { UInt16: 16, UInt32: 32, UInt64: 64, Code: 16, Bool: 1 };
const element = (type) => /^List\((.*)\)$/.exec(type)?.[1];

/** encode returns a message of one segment in standard stream framing. */
export function encode(type, value) {
  const segment = new Segment();
  segment.putStruct(segment.allocate(1), type, value);
  const table = Buffer.alloc(WORD);
  table.writeUInt32LE(segment.words, 4);
  return Buffer.concat([table, segment.bytes.subarray(0, segment.words * WORD)]);
}

/** any wraps a struct for a field of type AnyPointer. */
export const any = (type, value) => ({ type, value });

class Segment {
  bytes = Buffer.alloc(64 * WORD);
  words = 0;

  allocate(words) {
    const at = this.words;
    this.words += words;
    if (this.words * WORD > this.bytes.length) {
      this.bytes = Buffer.concat([this.bytes, Buffer.alloc(this.words * WORD)]);
    }
    return at;
  }

  // pointer writes where something lies into the word `at`.
  pointer(at, target, kind, upper) {
    this.bytes.writeInt32LE(((target - at - 1) << 2) | kind, at * WORD);
    this.bytes.writeUInt32LE(upper >>> 0, at * WORD + 4);
  }

  putStruct(at, type, value) {
    const { data, pointers } = structs[type];
    const target = this.allocate(data + pointers);
    this.pointer(at, target, 0, data | (pointers << 16));
    this.fill(target, type, value);
  }

  fill(target, type, value) {
    const { data, fields, tag } = structs[type];
    for (const [name, [kind, place, choice]] of Object.entries(fields)) {
      const field = value[name];
      if (field === undefined) continue;
      if (choice !== undefined) this.bytes.writeUInt16LE(choice, target * WORD + tag / 8);
      if (kind in widths) this.number(target, kind, place, field);
      else this.put(target + data + place, kind, field);
    }
  }

  number(target, kind, bit, value) {
    const at = target * WORD + (bit >> 3);
    if (kind === 'UInt64') this.bytes.writeBigUInt64LE(BigInt(value), at);
    else if (kind === 'UInt32') this.bytes.writeUInt32LE(value, at);
    else if (kind === 'Bool') this.bytes[at] |= value ? 1 << (bit & 7) : 0;
    else this.bytes.writeUInt16LE(value, at);
  }

  put(at, kind, value) {
    if (kind === 'AnyPointer') return this.putStruct(at, value.type, value.value);
    if (kind === 'Data') return this.putBytes(at, value, 0);
    if (kind === 'Text') return this.putBytes(at, Buffer.from(value, 'utf8'), 1);
    const item = element(kind);
    return item ? this.putList(at, item, value) : this.putStruct(at, kind, value);
  }

  putBytes(at, bytes, terminator) {
    const length = bytes.length + terminator;
    if (length === 0) return;
    const target = this.allocate(Math.ceil(length / WORD));
    this.pointer(at, target, 1, (length << 3) | 2);
    Buffer.from(bytes).copy(this.bytes, target * WORD);
  }

  putList(at, item, values) {
    if (item === 'UInt64') {
      const target = this.allocate(values.length);
      this.pointer(at, target, 1, (values.length << 3) | 5);
      values.forEach((v, i) => this.number(target + i, item, 0, v));
    } else if (item === 'Data' || item === 'Text') {
      const target = this.allocate(values.length);
      this.pointer(at, target, 1, (values.length << 3) | 6);
      values.forEach((v, i) => this.put(target + i, item, v));
    } else {
      const { data, pointers } = structs[item];
      const size = data + pointers;
      const target = this.allocate(1 + values.length * size);
      this.pointer(at, target, 1, ((values.length * size) << 3) | 7);
      this.bytes.writeUInt32LE(values.length << 2, target * WORD);
      this.bytes.writeUInt32LE(data | (pointers << 16), target * WORD + 4);
      values.forEach((v, i) => this.fill(target + 1 + i * size, item, v));
    }
  }
}

/**
 * frameLength returns how many bytes a message has that begins with these bytes, or
 * undefined while its segment table is not there whole.
 */
export function frameLength(bytes) {
  if (bytes.length < 4) return undefined;
  const count = bytes.readUInt32LE(0) + 1;
  if (count > 16) throw new Error(`a message of ${count} segments, expected at most 16`);
  const head = Math.ceil((4 + 4 * count) / WORD) * WORD;
  if (bytes.length < head) return undefined;
  let words = 0;
  for (let i = 0; i < count; i++) words += bytes.readUInt32LE(4 + 4 * i);
  return head + words * WORD;
}

/** decode reads a message in standard stream framing. An AnyPointer becomes a function of its type. */
export function decode(type, bytes) {
  const count = bytes.readUInt32LE(0) + 1;
  const segments = [];
  let at = Math.ceil((4 + 4 * count) / WORD) * WORD;
  for (let i = 0; i < count; i++) {
    const length = bytes.readUInt32LE(4 + 4 * i) * WORD;
    segments.push(bytes.subarray(at, at + length));
    at += length;
  }
  return new Reader(segments).value(0, 0, type);
}

class Reader {
  constructor(segments) {
    this.segments = segments;
    // Things that are read, so that no message is read without end.
    this.budget = 64 * segments.reduce((sum, s) => sum + s.length, 0) + 1024;
  }

  // follow resolves the pointer in a word to where its target is, over far pointers.
  follow(segment, word) {
    let { low, high } = this.word(segment, word);
    let base = word + 1;
    if ((low & 3) === 2) {
      const pad = low >>> 3;
      const twice = (low & 4) !== 0;
      const at = high;
      ({ low, high } = this.word(at, pad));
      segment = at;
      base = pad + 1;
      if (twice) {
        // The pad's first word says where the content begins, its second what it is.
        segment = high;
        base = low >>> 3;
        ({ low, high } = this.word(at, pad + 1));
      }
    }
    return { segment, low, high, target: base + (low >> 2) };
  }

  word(segment, word) {
    const bytes = this.segments[segment];
    return { low: bytes.readInt32LE(word * WORD), high: bytes.readUInt32LE(word * WORD + 4) };
  }

  value(segment, word, type) {
    const p = this.follow(segment, word);
    if (p.low === 0 && p.high === 0) return this.nothing(type);
    if (type === 'AnyPointer') return (its) => this.value(segment, word, its);
    if (type === 'Data' || type === 'Text') return this.bytes(p, type);
    const item = element(type);
    return item ? this.list(p, item) : this.struct(p.segment, p.target, p.high & 0xffff, p.high >>> 16, type);
  }

  nothing(type) {
    if (type === 'Data') return Buffer.alloc(0);
    if (type === 'Text') return '';
    if (type === 'AnyPointer') return (its) => this.nothing(its);
    return element(type) ? [] : structs[type] ? this.struct(0, 0, 0, 0, type) : undefined;
  }

  bytes({ segment, target, high }, type) {
    const length = high >>> 3;
    const out = this.segments[segment].subarray(target * WORD, target * WORD + length);
    if (out.length !== length) throw new Error('a message that ends within a value');
    return type === 'Text' ? out.subarray(0, -1).toString('utf8') : Buffer.from(out);
  }

  list({ segment, target, high }, item) {
    const count = high >>> 3;
    if ((high & 7) === 7) {
      const length = this.segments[segment].readUInt32LE(target * WORD) >>> 2;
      const shape = this.segments[segment].readUInt32LE(target * WORD + 4);
      const [data, pointers] = [shape & 0xffff, shape >>> 16];
      return Array.from({ length: this.spend(length) }, (_, i) =>
        this.struct(segment, target + 1 + i * (data + pointers), data, pointers, item));
    }
    return Array.from({ length: this.spend(count) }, (_, i) =>
      item === 'UInt64' ? this.segments[segment].readBigUInt64LE((target + i) * WORD) : this.value(segment, target + i, item));
  }

  spend(n) {
    this.budget -= n;
    if (this.budget < 0) throw new Error('a message that says more than it holds');
    return n;
  }

  struct(segment, target, data, pointers, type) {
    this.spend(1);
    const out = {};
    const { fields, tag } = structs[type];
    const chosen = tag !== undefined && tag < data * 64 ? this.number(segment, target, 'UInt16', tag) : 0;
    for (const [name, [kind, place, choice]] of Object.entries(fields)) {
      if (choice !== undefined && choice !== chosen) continue;
      if (kind in widths) {
        out[name] = place + widths[kind] <= data * 64 ? this.number(segment, target, kind, place) : { UInt64: 0n, Bool: false }[kind] ?? 0;
      } else {
        const there = place < pointers;
        out[name] = there ? this.value(segment, target + data + place, kind) : this.nothing(kind);
      }
    }
    return out;
  }

  number(segment, target, kind, bit) {
    const bytes = this.segments[segment];
    const at = target * WORD + (bit >> 3);
    if (kind === 'UInt64') return bytes.readBigUInt64LE(at);
    if (kind === 'UInt32') return bytes.readUInt32LE(at);
    if (kind === 'Bool') return (bytes[at] & (1 << (bit & 7))) !== 0;
    return bytes.readUInt16LE(at);
  }
}
