// The vectors of docs/vectors.json, by this client's code: node --test vectors.test.mjs
import test from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createPrivateKey, createPublicKey, sign } from 'node:crypto';
import { decode, encode, any, frameLength } from './capnp.mjs';
import { fixed } from './opaque.mjs';
import { pinned, statement } from './qpq.mjs';

const file = process.env.QPQ_VECTORS ?? new URL('../../vectors.json', import.meta.url);
const vectors = JSON.parse(readFileSync(file, 'utf8'));
const hex = (text) => Buffer.from(text, 'hex');

test('OPAQUE', async () => {
  const v = vectors.opaque;
  const registration = fixed.startRegistration(v.username, v.password, hex(v.blind), hex(v.envelopeNonce));
  assert.equal(registration.request.toString('hex'), v.registrationRequest);
  assert.equal((await registration.finish(hex(v.registrationResponse))).toString('hex'), v.upload);
  const login = fixed.startLogin(v.username, v.password, hex(v.blindLogin), hex(v.clientNonce), hex(v.clientKeyshareSeed));
  assert.equal(login.request.toString('hex'), v.ke1);
  assert.equal((await login.finish(hex(v.ke2))).toString('hex'), v.ke3);
  await assert.rejects(fixed.startLogin(v.username, 'wrong', hex(v.blindLogin), hex(v.clientNonce), hex(v.clientKeyshareSeed)).finish(hex(v.ke2)));
});

test('statements', () => {
  const { keys, ...rows } = vectors.statements;
  const [account, device, deviceId] = [hex(keys.account), hex(keys.device), hex(keys.deviceId)];
  const number = (n) => { const b = Buffer.alloc(8); b.writeBigUInt64BE(BigInt(n)); return b; };
  const said = {
    register: (v) => ['qpq/1 register', hex(v.server), account, Buffer.from(v.username), hex(v.upload)],
    device: () => ['qpq/1 device', account, deviceId, device],
    hybridKey: (v) => ['qpq/1 hybrid key', account, deviceId, hex(v.hybridPublicKey)],
    bindSession: (v) => ['qpq/1 bind session', hex(v.exporter), hex(v.tokenHash)],
    revokeDevice: (v) => ['qpq/1 revoke device', account, deviceId, number(v.signedAtMs)],
    deleteAccount: (v) => ['qpq/1 delete account', account, number(v.signedAtMs)],
    changePassword: (v) => ['qpq/1 change password', account, hex(v.recordDigest), hex(v.upload)],
    loginStart: (v) => ['qpq/1 begin login', account, deviceId, Buffer.from(v.username), hex(v.ke1)],
    instance: (v) => ['qpq/1 device instance', account, deviceId, number(v.instance), Buffer.concat(v.held.map(number))],
  };
  assert.deepEqual(Object.keys(rows).sort(), Object.keys(said).sort());
  const keyOf = { account: [keys.accountSeed, account], device: [keys.deviceSeed, device] };
  for (const [name, row] of Object.entries(rows)) {
    const bytes = statement(...said[name](row));
    assert.equal(bytes.toString('hex'), row.statement, name);
    const [seed, x] = keyOf[row.signer];
    const key = createPrivateKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', d: hex(seed).toString('base64url'), x: x.toString('base64url') } });
    assert.equal(createPublicKey(key).export({ format: 'jwk' }).x, x.toString('base64url'));
    assert.equal(sign(null, bytes, key).toString('hex'), row.signature, name);
  }
});

test('pin', () => {
  const v = vectors.pin;
  const chain = [hex(v.node), hex(v.authority)];
  const within = new Date(Date.parse(v.validFrom) + 3600_000);
  assert.ok(pinned(chain, hex(v.pin), within));
  assert.ok(!pinned(chain, Buffer.alloc(32), within), 'another pin');
  assert.ok(!pinned([hex(v.authority)], hex(v.pin), within), 'no leaf');
  assert.ok(!pinned(chain, hex(v.pin), new Date(Date.parse(v.validTo) + 1000)), 'out of date');
});

test('frames', () => {
  const f = vectors.frames;
  const request = (fields) => encode('Request', fields).toString('hex');
  assert.equal(request({ method: 5, seen: f.health.seen }), f.health.request);
  for (const name of ['loginStart', 'enqueue']) {
    const frame = hex(f[name].request);
    assert.equal(frameLength(frame), frame.length);
  }
  const login = decode('Request', hex(f.loginStart.request));
  assert.equal(login.method, 10);
  const { username, request: ke1 } = login.params('OpaqueLoginStartParams');
  assert.deepEqual([username, ke1], [f.loginStart.username, hex(f.loginStart.ke1)]);
  const sent = decode('Request', hex(f.enqueue.request));
  assert.deepEqual([sent.method, sent.first, sent.requestId], [2, true, hex(f.enqueue.requestId)]);
  const params = sent.params('EnqueueParams');
  assert.equal(params.auth.accessToken.toString('hex'), f.enqueue.accessToken);
  for (const field of ['recipientKey', 'channelId', 'payload']) assert.equal(params[field].toString('hex'), f.enqueue[field]);
  // What this client would write means the same.
  const again = decode('Request', encode('Request', { ...sent, params: any('EnqueueParams', params) }));
  assert.deepEqual(again.params('EnqueueParams'), params);

  const answer = decode('Response', hex(f.sent.response));
  assert.deepEqual([answer.index, answer.results('EnqueueResults').seq], [BigInt(f.sent.index), BigInt(f.sent.seq)]);
  const refusal = decode('Response', hex(f.refusal.response)).error;
  assert.deepEqual([refusal.code, refusal.retryAfterMs, refusal.message], [f.refusal.code, f.refusal.retryAfterMs, f.refusal.message]);
});
