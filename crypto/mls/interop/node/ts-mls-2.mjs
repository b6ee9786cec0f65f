// Test peer over ts-mls 2.0.0-rc.10: enumerations are numbers, options are objects.
import * as mls from "ts-mls-2"
import { internal, showingExternalPub, withExternalPub } from "./internals.mjs"
import { Peer } from "./peer.mjs"
import { serve } from "./protocol.mjs"
import { customSuite } from "./suites.mjs"
import { prefixed, unprefixed } from "./varint.mjs"

const { signGroupInfo } = await internal("ts-mls-2", "groupInfo.js")
const { welcomeDecoder } = await internal("ts-mls-2", "welcome.js")
const { ratchetTreeDecoder } = await internal("ts-mls-2", "ratchetTree.js")
const { signLeafNodeCommit } = await internal("ts-mls-2", "leafNode.js")
const { decryptSenderData } = await internal("ts-mls-2", "privateMessage.js")

const { wireformats, defaultProposalTypes: types, protocolVersions } = mls
const externalPub = 4 // extension type external_pub, RFC 9420 §17.3
const kinds = Object.fromEntries(Object.entries(mls.contentTypes).map(([name, value]) => [value, name]))

const clientConfig = {
  keyRetentionConfig: { retainKeysForGenerations: 256, retainKeysForEpochs: 4, maximumForwardRatchetSteps: 1000 },
  lifetimeConfig: mls.defaultLifetimeConfig,
  keyPackageEqualityConfig: mls.defaultKeyPackageEqualityConfig,
  paddingConfig: mls.defaultPaddingConfig,
}

const contextOf = ({ suite, psks }) => ({
  cipherSuite: suite,
  authService: mls.unsafeTestingAuthenticationService,
  externalPsks: psks,
  clientConfig,
})

const encode = (body) => mls.encode(mls.mlsMessageEncoder, { version: protocolVersions.mls10, ...body })

function decode(raw, what) {
  const message = whole(mls.mlsMessageDecoder, raw)
  if (message === undefined) throw new Error(`decode ${what}: not one MLSMessage`)
  return message
}

/** The result of a decoder if it takes all of raw, else undefined. */
function whole(decoder, raw) {
  try {
    const [value, length] = decoder(raw, 0) ?? []
    return length === raw.length ? value : undefined
  } catch {
    return undefined // the decoders throw on some input and return nothing on other
  }
}

/** A field of an MLSMessage, or the bare struct, which may look like another MLSMessage. */
function decodeEither(raw, what, field, bare) {
  const value = whole(mls.mlsMessageDecoder, raw)?.[field] ?? whole(bare, raw)
  if (value === undefined) throw new Error(`decode ${what}: neither an MLSMessage nor the bare struct`)
  return value
}

async function sender(message, group, suite) {
  if (message.wireformat === wireformats.mls_public_message) return message.publicMessage.content.sender.leafIndex
  const { privateMessage } = message
  const past = group.historicalReceiverData.get(privateMessage.epoch)
  const secret = past?.senderDataSecret ?? group.keySchedule.senderDataSecret
  return (await decryptSenderData(privateMessage, secret, suite))?.leafIndex
}

const stack = {
  async suite(id) {
    return (await customSuite(id)) ?? mls.defaultCryptoProvider.getCiphersuiteImpl(id)
  },
  async newPackage({ suite }, id, identity, signatureKeyPair) {
    const capabilities = mls.defaultCapabilities()
    if (!capabilities.ciphersuites.includes(id)) capabilities.ciphersuites.push(id)
    const credential = { credentialType: mls.defaultCredentialTypes.basic, identity }
    return mls.generateKeyPackageWithKey({ credential, capabilities, signatureKeyPair, cipherSuite: suite })
  },
  encodeKeyPackage: (keyPackage) => encode({ wireformat: wireformats.mls_key_package, keyPackage }),
  decodeKeyPackage: (raw) => decodeEither(raw, "key package", "keyPackage", mls.keyPackageDecoder),
  create(context, groupId, { publicPackage, privatePackage }) {
    return mls.createGroup({
      context: contextOf(context), groupId, keyPackage: publicPackage, privateKeyPackage: privatePackage,
    })
  },
  async join(context, raw, packages, tree) {
    const welcome = decodeEither(raw, "welcome", "welcome", welcomeDecoder)
    const ratchetTree = tree && ratchetTreeDecoder(tree, 0)[0]
    let failure = new Error("no key package to join with")
    for (const { publicPackage, privatePackage } of packages) {
      try {
        return await mls.joinGroup({
          context: contextOf(context), welcome, keyPackage: publicPackage, privateKeys: privatePackage, ratchetTree,
        })
      } catch (err) {
        failure = err
      }
    }
    throw failure
  },
  proposals: {
    add: (keyPackage) => ({ proposalType: types.add, add: { keyPackage } }),
    remove: (removed) => ({ proposalType: types.remove, remove: { removed } }),
    psk: (pskId, suite) => {
      const pskNonce = suite.rng.randomBytes(suite.kdf.size)
      return { proposalType: types.psk, psk: { preSharedKeyId: { psktype: mls.pskTypes.external, pskId, pskNonce } } }
    },
  },
  extensionsProposal: (extensions) => ({
    proposalType: types.group_context_extensions, groupContextExtensions: { extensions: extensions.map(mls.makeCustomExtension) },
  }),
  async updateProposal({ suite }, group, hpkePublicKey) {
    const { leafIndex } = group.privatePath
    const { signaturePublicKey, credential, capabilities, extensions } = group.ratchetTree[2 * leafIndex].leaf
    const leafNodeSource = mls.leafNodeSources.update
    const leaf = { hpkePublicKey, signaturePublicKey, credential, capabilities, extensions, leafNodeSource }
    const tbs = { ...leaf, groupId: group.groupContext.groupId, leafIndex }
    const leafNode = await signLeafNodeCommit(tbs, group.signaturePrivateKey, suite.signature)
    return { proposalType: types.update, update: { leafNode } }
  },
  async commit(context, state, extraProposals, wireAsPublicMessage) {
    const { newState, commit, welcome } = await mls.createCommit({
      context: contextOf(context), state, extraProposals, wireAsPublicMessage, ratchetTreeExtension: true,
    })
    return { group: newState, commit: encode(commit), welcome: welcome && encode(welcome) }
  },
  async groupInfo({ suite }, group, asWritten) {
    const info = await mls.createGroupInfoWithExternalPubAndRatchetTree(group, [], suite)
    if (asWritten) return encode({ wireformat: wireformats.mls_group_info, groupInfo: info })
    const fixed = withExternalPub(info, externalPub, prefixed)
    return encode({
      wireformat: wireformats.mls_group_info,
      groupInfo: await signGroupInfo(fixed, group.signaturePrivateKey, suite.signature),
    })
  },
  async externalJoin(context, raw, { publicPackage, privatePackage }, resync) {
    const { publicMessage, newState } = await mls.joinGroupExternal({
      context: contextOf(context),
      groupInfo: showingExternalPub(decode(raw, "group info").groupInfo, externalPub, unprefixed),
      keyPackage: publicPackage,
      privateKeys: privatePackage,
      resync,
    })
    return { group: newState, commit: encode({ wireformat: wireformats.mls_public_message, publicMessage }) }
  },
  async propose(context, state, proposal, wireAsPublicMessage) {
    const { newState, message } = await mls.createProposal({
      context: contextOf(context), state, proposal, wireAsPublicMessage,
    })
    return { group: newState, message: encode(message) }
  },
  async process(context, state, raw, callback) {
    const message = decode(raw, "message")
    const isPublic = message.wireformat === wireformats.mls_public_message
    if (!isPublic && message.wireformat !== wireformats.mls_private_message) throw new Error("not a framed message")
    // mls.processMessage would forget the external PSKs of private messages.
    const call = { context: contextOf(context), state, callback }
    const result = isPublic
      ? await mls.processPublicMessage({ ...call, publicMessage: message.publicMessage })
      : await mls.processPrivateMessage({ ...call, privateMessage: message.privateMessage })
    const content = isPublic ? message.publicMessage.content : message.privateMessage
    const event = {
      group: result.newState, kind: kinds[content.contentType], sender: await sender(message, state, context.suite),
    }
    if (result.kind !== "applicationMessage") return event
    return { ...event, plaintext: Buffer.from(result.message).toString("hex"), epoch: Number(content.epoch) }
  },
  async encrypt(context, state, message, authenticatedData) {
    const result = await mls.createApplicationMessage({ context: contextOf(context), state, message, authenticatedData })
    return { group: result.newState, message: encode(result.message) }
  },
  export: (suite, group, label, context, length) =>
    mls.mlsExporter(group.keySchedule.exporterSecret, label, context, length, suite),
  encodeGroup: (group) => mls.encode(mls.clientStateEncoder, group),
  decodeGroup: (raw) => mls.clientStateDecoder(raw, 0)[0],
}

await serve(new Peer(stack))
