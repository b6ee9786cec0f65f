// Registers NAME, waits for one message of PEER, and answers it:
// node answer.mjs ADDRESS NAME PEER
import { Client, newIdentity } from './qpq.mjs';

const [address, name, peer] = process.argv.slice(2);
const client = new Client(address);
try {
  await client.register(name, 'a password', newIdentity());
  const { identityKey } = await client.login(name, 'a password');
  const peerKey = await client.accountOf(peer);
  const channel = await client.channel(peerKey);
  console.log('waiting');
  let came = [];
  while (came.length === 0) came = await client.receive(identityKey, channel);
  const [envelope] = came;
  await client.send(peerKey, channel, Buffer.concat([Buffer.from('you said: '), envelope.data]));
  await client.acknowledge(identityKey, channel, envelope.seq);
} finally {
  await client.close();
}
