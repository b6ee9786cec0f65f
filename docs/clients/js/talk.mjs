// Two accounts talk through a cluster: node talk.mjs qpq://HOST:PORT,HOST:PORT?pin=sha256:HEX
// What it prints stands in README.md, and CI runs it against three real nodes.
import { Client, Failure, newIdentity } from './qpq.mjs';

const address = process.argv[2];
const [first, second] = process.argv.slice(3).length ? process.argv.slice(3) : ['ada', 'grace'];
const clients = [];
const open = () => clients[clients.push(new Client(address)) - 1];
const say = (...line) => console.log(line.join(' '));

try {
  const [ada, grace] = [open(), open()];
  const { status, members } = await ada.call('health', {});
  say('health', status, members.length, 'nodes');
  await ada.register(first, 'correct horse', newIdentity());
  await grace.register(second, 'battery staple', newIdentity());
  say('registered', first, second);

  await open().login(first, 'wrong horse').then(() => say('a wrong password logs in'), (e) => say('wrong password:', e.message));
  await open().register(first, 'mine now', newIdentity()).catch((e) => say('name taken:', e.name));
  const me = await ada.login(first, 'correct horse');
  const her = await grace.login(second, 'battery staple');
  say('logged in', me.username, her.username);

  const channel = await ada.channel(await ada.accountOf(second));
  say('sent', await ada.send(her.identityKey, channel, Buffer.from('hello from JavaScript')));
  const [envelope] = await grace.receive(her.identityKey, channel);
  say('received', JSON.stringify(envelope.data.toString()), 'as', envelope.seq);
  say('acknowledged', await grace.acknowledge(her.identityKey, channel, envelope.seq));
  await grace.send(me.identityKey, channel, Buffer.from('and back'));
  const [answer] = await ada.receive(me.identityKey, channel);
  say('received', JSON.stringify(answer.data.toString()));

  await ada.logout();
  await ada.call('whoami', {}).catch((e) => say('after logout:', e instanceof Failure ? e.name : e.message));
} finally {
  for (const client of clients) await client.close();
}
