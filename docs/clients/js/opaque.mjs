// The client's side of OPAQUE-3DH (RFC 9807) with ristretto255-SHA512, HKDF-SHA-512,
// HMAC-SHA-512 and Argon2id, as docs/protocol.md says. It stands on the OPRF of
// @noble/curves: the packages of npm that do all of OPAQUE have no application context
// (@serenity-kit/opaque 1.1) or another group (@cloudflare/opaque-ts).
import { ristretto255, ristretto255_hasher, ristretto255_oprf } from '@noble/curves/ed25519.js';
import { argon2id } from 'hash-wasm';
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

const CONTEXT = 'qpq/opaque/v1';
const STRETCH = { salt: Buffer.alloc(16), iterations: 3, memorySize: 64 * 1024, parallelism: 4, hashLength: 64, outputType: 'binary' };
const { oprf } = ristretto255_oprf;

const sha512 = (...parts) => createHash('sha512').update(Buffer.concat(parts)).digest();
const mac = (key, ...parts) => createHmac('sha512', key).update(Buffer.concat(parts)).digest();
const extract = (ikm) => mac(Buffer.alloc(64), ikm);
const bytes = (text) => Buffer.from(text, 'utf8');
const sized = (data) => Buffer.concat([Buffer.from([data.length >> 8, data.length & 255]), data]);

/** expand is HKDF-Expand (RFC 5869 §2.3) with SHA-512. */
function expand(key, info, length) {
  let [block, out] = [Buffer.alloc(0), Buffer.alloc(0)];
  for (let i = 1; out.length < length; i++) {
    block = mac(key, block, info, Buffer.from([i]));
    out = Buffer.concat([out, block]);
  }
  return out.subarray(0, length);
}

/** deriveSecret is Derive-Secret of RFC 9807 §6.4.2. */
function deriveSecret(key, label, hash) {
  const name = bytes('OPAQUE-' + label);
  return expand(key, Buffer.concat([Buffer.from([0, 64, name.length]), name, Buffer.from([hash.length]), hash]), 64);
}

const keyPair = (seed) => oprf.deriveKeyPair(seed, bytes('OPAQUE-DeriveDiffieHellmanKeyPair'));

/** dh multiplies a point with a little-endian scalar; both have 32 bytes. */
function dh(secret, point) {
  const scalar = BigInt('0x' + Buffer.from(secret).reverse().toString('hex'));
  return Buffer.from(ristretto255.Point.fromBytes(point).multiply(scalar).toBytes());
}

/** normal is a password in NFC (RFC 8265 §4.2.2). */
const normal = (password) => bytes(password.normalize('NFC'));

async function randomizedPassword(password, blind, evaluated) {
  const output = Buffer.from(oprf.finalize(password, blind, evaluated));
  return extract(Buffer.concat([output, await argon2id({ password: output, ...STRETCH })]));
}

/** envelope makes or remakes the keys and the tag of RFC 9807 §4.1.2 and §4.1.3. */
function envelope(randomized, nonce, serverKey, username) {
  const key = keyPair(expand(randomized, Buffer.concat([nonce, bytes('PrivateKey')]), 32));
  const authKey = expand(randomized, Buffer.concat([nonce, bytes('AuthKey')]), 64);
  const said = Buffer.concat([serverKey, sized(serverKey), sized(bytes(username))]);
  return { key, tag: mac(authKey, nonce, said) };
}

/** blinding returns the password's blinded element; blind is drawn unless it is given. */
function blinding(secret, given) {
  if (given === undefined) return oprf.blind(secret);
  const scalar = BigInt('0x' + Buffer.from(given).reverse().toString('hex'));
  const point = ristretto255_hasher.hashToCurve(secret, { DST: 'HashToGroup-OPRFV1-\0-ristretto255-SHA512' });
  return { blind: given, blinded: point.multiply(scalar).toBytes() };
}

/** startRegistration returns {request, finish}: finish(response) gives the upload, 192 bytes. */
export const startRegistration = (username, password) => fixed.startRegistration(username, password);

/** startLogin returns {request, finish}: finish(KE2) gives KE3, 64 bytes, or throws. */
export const startLogin = (username, password) => fixed.startLogin(username, password);

/** fixed are both with what is drawn given, for vectors. */
export const fixed = { startRegistration: registration, startLogin: login };

function registration(username, password, givenBlind, nonce = randomBytes(32)) {
  const secret = normal(password);
  const { blind, blinded } = blinding(secret, givenBlind);
  return {
    request: Buffer.from(blinded),
    async finish(response) {
      const [evaluated, serverKey] = [response.subarray(0, 32), response.subarray(32, 64)];
      const randomized = await randomizedPassword(secret, blind, evaluated);
      const { key, tag } = envelope(randomized, nonce, serverKey, username);
      return Buffer.concat([key.publicKey, expand(randomized, bytes('MaskingKey'), 64), nonce, tag]);
    },
  };
}

function login(username, password, givenBlind, clientNonce = randomBytes(32), shareSeed = randomBytes(32)) {
  const secret = normal(password);
  const { blind, blinded } = blinding(secret, givenBlind);
  const ephemeral = keyPair(shareSeed);
  const ke1 = Buffer.concat([blinded, clientNonce, ephemeral.publicKey]);
  return {
    request: ke1,
    async finish(ke2) {
      const [evaluated, maskingNonce, masked] = [ke2.subarray(0, 32), ke2.subarray(32, 64), ke2.subarray(64, 192)];
      const [serverShare, serverMac] = [ke2.subarray(224, 256), ke2.subarray(256, 320)];
      const randomized = await randomizedPassword(secret, blind, evaluated);
      const maskingKey = expand(randomized, bytes('MaskingKey'), 64);
      const pad = expand(maskingKey, Buffer.concat([maskingNonce, bytes('CredentialResponsePad')]), 128);
      const open = masked.map((b, i) => b ^ pad[i]);
      const [serverKey, nonce, tag] = [open.subarray(0, 32), open.subarray(32, 64), open.subarray(64)];
      const { key, tag: expected } = envelope(randomized, nonce, serverKey, username);
      if (!timingSafeEqual(tag, expected)) throw new Error('name or password is wrong');

      const shared = extract(Buffer.concat([
        dh(ephemeral.secretKey, serverShare), dh(ephemeral.secretKey, serverKey), dh(key.secretKey, serverShare)]));
      const preamble = Buffer.concat([bytes('OPAQUEv1-'), sized(bytes(CONTEXT)), sized(bytes(username)), ke1,
        sized(serverKey), ke2.subarray(0, 256)]);
      const secrets = deriveSecret(shared, 'HandshakeSecret', sha512(preamble));
      const none = Buffer.alloc(0);
      if (!timingSafeEqual(serverMac, mac(deriveSecret(secrets, 'ServerMAC', none), sha512(preamble)))) {
        throw new Error('the server does not know this account');
      }
      return mac(deriveSecret(secrets, 'ClientMAC', none), sha512(preamble, serverMac));
    },
  };
}
