// A small client of quicproquo's protocol (docs/protocol.md) for Node.js: accounts,
// sessions, channels and queues. What it sends is delivered as it is: who wants nobody to
// read it puts MLS (RFC 9420) into the payload, as qpq does.
import quic from '@matrixai/quic';
import logger from '@matrixai/logger';
import { X509Certificate, createHash, generateKeyPairSync, createPrivateKey, randomBytes, randomFillSync, sign } from 'node:crypto';
import { any, decode, encode, frameLength } from './capnp.mjs';
import { codes, methods } from './schema.mjs';
import { startLogin, startRegistration } from './opaque.mjs';

const { QUICClient } = quic;
const { default: Logger, LogLevel } = logger;
const ELSEWHERE = ['unavailable', 'lagging', 'storage', 'deadlineExceeded', 'diskFull', 'internal']; // docs/errors.md
const BAD_CERTIFICATE = 298; // TLS alert 42 as a QUIC error: RFC 9001 §4.8

/** Failure is an answer that is an error: code as the schema names it, and its number. */
export class Failure extends Error {
  constructor({ code, message, retryAfterMs, value }) {
    super(`E${String(code).padStart(3, '0')} ${codes[code]}: ${message}`);
    Object.assign(this, { code, name: codes[code], retryAfterMs, value });
  }
}

/** newIdentity makes an account's key: {publicKey, privateKey}, 32 bytes each. */
export function newIdentity() {
  const { privateKey } = generateKeyPairSync('ed25519');
  const { x, d } = privateKey.export({ format: 'jwk' });
  return { publicKey: Buffer.from(x, 'base64url'), privateKey: Buffer.from(d, 'base64url') };
}

/** parseAddress reads qpq://HOST:PORT,HOST:PORT?pin=sha256:HEX. */
export function parseAddress(text) {
  const found = /^qpq:\/\/([^?]+)\?pin=sha256:([0-9a-f]{64})$/.exec(text);
  if (!found) throw new Error(`${text} is no address: expected qpq://HOST:PORT,HOST:PORT?pin=sha256:HEX, as qpqd pin prints it`);
  return { nodes: found[1].split(','), pin: Buffer.from(found[2], 'hex') };
}

/** statement is what is signed: a label and its parts, each after its length in two bytes. */
export function statement(label, ...parts) {
  return Buffer.concat([Buffer.from(label), ...parts].flatMap((part) => {
    const length = Buffer.alloc(2);
    length.writeUInt16BE(part.length);
    return [length, part];
  }));
}

function signed({ publicKey, privateKey }, said) {
  const key = createPrivateKey({ format: 'jwk', key: {
    kty: 'OKP', crv: 'Ed25519', x: publicKey.toString('base64url'), d: privateKey.toString('base64url') } });
  return sign(null, said, key);
}

/**
 * pinned accepts a chain whose last certificate has the pinned key, and is the issuer of a
 * first one that is of a node of the same cluster.
 */
export function pinned(chain, pin, now = new Date()) {
  const [leaf, root] = [new X509Certificate(chain[0]), new X509Certificate(chain.at(-1))];
  const key = root.publicKey.export({ type: 'spki', format: 'der' });
  const uri = (certificate) => /URI:([^,]+)/.exec(certificate.subjectAltName ?? '')?.[1] ?? '';
  const cluster = /^qpq:\/\/([0-9a-f]{32})\/ca$/.exec(uri(root))?.[1];
  const within = (c) => new Date(c.validFrom) <= now && now <= new Date(c.validTo);
  return chain.length === 2 && createHash('sha256').update(key).digest().equals(pin) && cluster !== undefined &&
    root.ca && root.verify(root.publicKey) && leaf.checkIssued(root) && leaf.verify(root.publicKey) && !leaf.ca &&
    uri(leaf).startsWith(`qpq://${cluster}/node/`) && within(leaf) && within(root);
}

/** Client is one account at one cluster. It uses one node at a time and goes to the next when that fails. */
export class Client {
  /** tries is how often a call is sent before it fails. */
  tries = 20;
  #nodes; #pin; #connection; #token;
  #at = 0;
  #seen = 0n;
  #asked; // the nodes that were asked for all since an answer has taken back what was seen

  constructor(address) {
    ({ nodes: this.#nodes, pin: this.#pin } = parseAddress(address));
  }

  /** register makes an account; identity is newIdentity's, invite the 16 bytes of a token. */
  async register(username, password, identity, invite = new Uint8Array()) {
    const run = startRegistration(username, password);
    const { response, handshake } = await this.call('opaqueRegisterStart', { username, request: run.request });
    const upload = await run.finish(response);
    const said = statement('qpq/1 register', response.subarray(32), identity.publicKey, Buffer.from(username), upload);
    await this.call('opaqueRegisterFinish', {
      username, upload, identityKey: identity.publicKey, identityProof: signed(identity, said), handshake, invite });
  }

  /** login opens a session, and answers whose it is: {username, identityKey, ...}. */
  async login(username, password) {
    const run = startLogin(username, password);
    const { response, handshake } = await this.call('opaqueLoginStart', { username, request: run.request });
    const finalization = await run.finish(response);
    const { sessionToken } = await this.call('opaqueLoginFinish', { username, finalization, handshake });
    this.#token = sessionToken;
    return this.call('whoami', {});
  }

  /** channel returns the id of the channel with an account: 16 bytes. */
  async channel(peerKey) {
    return (await this.call('createChannel', { peerKey })).channelId;
  }

  async accountOf(username) {
    return (await this.call('resolveUser', { username })).identityKey;
  }

  /** send puts a payload, 1 byte to 1 MiB, into a recipient's queue. */
  async send(recipientKey, channelId, payload) {
    return (await this.call('enqueue', { recipientKey, channelId, payload, version: 1 })).seq;
  }

  /** receive waits for envelopes of one of the account's own queues; nothing is removed. */
  async receive(ownKey, channelId, timeoutMs = 10_000) {
    return (await this.call('fetchWait', { recipientKey: ownKey, channelId, version: 1, timeoutMs })).payloads;
  }

  /** acknowledge removes everything up to and including seq. */
  async acknowledge(ownKey, channelId, seq) {
    return (await this.call('ack', { recipientKey: ownKey, channelId, seq, version: 1 })).removed;
  }

  async logout() {
    await this.call('logout', {});
    this.#token = undefined;
  }

  async close() {
    await this.#connection?.destroy({ isApp: true, errorCode: 0 });
    this.#connection = undefined;
  }

  /**
   * call sends one call, and again with the same request id while that is what the
   * protocol says: a write is applied once, however often it was sent.
   */
  async call(method, params) {
    const [ordinal, paramsType, resultsType] = methods[method];
    const requestId = randomBytes(16);
    const value = this.#token ? { ...params, auth: { version: 1, accessToken: this.#token } } : params;
    for (let attempt = 0, pause = 25; ; attempt++, pause = Math.min(2 * pause, 1000)) {
      try {
        const node = this.#node();
        const linearizable = this.#asked !== undefined && !this.#asked.has(node);
        const request = { method: ordinal, requestId, seen: this.#seen, linearizable, first: attempt === 0, params: any(paramsType, value) };
        const response = decode('Response', await this.#exchange(encode('Request', request)));
        if (response.index > this.#seen) this.#seen = response.index;
        if (response.error) throw new Failure(response.error);
        if (linearizable) this.#asked.add(node);
        return response.results(resultsType);
      } catch (failure) {
        if (attempt + 1 >= this.tries || !(await this.#mayRepeat(failure))) throw failure;
        await new Promise((done) => setTimeout(done, Math.random() * pause));
      }
    }
  }

  // mayRepeat follows the retry column of docs/errors.md for the codes that it names.
  async #mayRepeat(failure) {
    if (!(failure instanceof Failure)) return this.#leave();
    if (failure.name === 'seenTooFarAhead') { // the cluster was restored, or a node has lied: begin again with what it has
      this.#seen = failure.value;
      this.#asked = new Set();
      return true;
    }
    if (ELSEWHERE.includes(failure.name)) return this.#leave();
    if (failure.name === 'unknownOutcome') return true;
    if (failure.name !== 'rateLimited' || failure.retryAfterMs > 5000) return false;
    await new Promise((done) => setTimeout(done, failure.retryAfterMs));
    return true;
  }

  // leave goes on at the next node.
  async #leave() {
    await this.close().catch(() => {});
    this.#at++;
    return true;
  }

  #node() {
    return this.#nodes[this.#at % this.#nodes.length];
  }

  async #exchange(request) {
    this.#connection ??= await this.#dial(this.#node());
    const stream = this.#connection.connection.newStream();
    const writer = stream.writable.getWriter();
    await writer.write(request);
    await writer.close();
    const chunks = [];
    for await (const chunk of stream.readable) chunks.push(chunk);
    const answer = Buffer.concat(chunks);
    if (frameLength(answer) !== answer.length) throw new Error('the stream ended within an answer');
    return answer;
  }

  #dial(node) {
    const [, host, port] = /^\[?([^\]]*)\]?:(\d+)$/.exec(node);
    const log = new Logger('quic', LogLevel.ERROR, []);
    return QUICClient.createQUICClient({
      host, port: Number(port), localHost: host.includes(':') ? '::' : '0.0.0.0', logger: log,
      crypto: { ops: { randomBytes: async (data) => void randomFillSync(new Uint8Array(data)) } },
      config: {
        applicationProtos: ['qpq/1'], verifyPeer: true, maxIdleTimeout: 5_000, keepAliveIntervalTime: 1_000,
        verifyCallback: async (chain) => (pinned(chain, this.#pin) ? undefined : BAD_CERTIFICATE),
      },
    });
  }
}
