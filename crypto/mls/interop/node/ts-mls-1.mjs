// Test peer over ts-mls 1.6.4: enumerations are names, options are positional.
import * as mls from "ts-mls-1"
import { internal, showingExternalPub, withExternalPub } from "./internals.mjs"
import { Peer } from "./peer.mjs"
import { serve } from "./protocol.mjs"
import { prefixed, unprefixed } from "./varint.mjs"

const { getCiphersuiteFromId } = await internal("ts-mls-1", "crypto/ciphersuite.js")
const { signGroupInfo } = await internal("ts-mls-1", "groupInfo.js")
const { decodeKeyPackage } = await internal("ts-mls-1", "keyPackage.js")
const { decodeWelcome } = await internal("ts-mls-1", "welcome.js")
const { decodeRatchetTree } = await internal("ts-mls-1", "ratchetTree.js")
const { signLeafNodeCommit } = await internal("ts-mls-1", "leafNode.js")
const { decryptSenderData } = await internal("ts-mls-1", "privateMessage.js")

const config = {
  keyRetentionConfig: { retainKeysForGenerations: 256, retainKeysForEpochs: 4, maximumForwardRatchetSteps: 1000 },
  lifetimeConfig: mls.defaultLifetimeConfig,
  keyPackageEqualityConfig: mls.defaultKeyPackageEqualityConfig,
  paddingConfig: mls.defaultPaddingConfig,
  authService: mls.defaultAuthenticationService,
}

const encode = (body) => mls.encodeMlsMessage({ version: "mls10", ...body })

function decode(raw, what) {
  const message = whole(mls.decodeMlsMessage, raw)
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
  const value = whole(mls.decodeMlsMessage, raw)?.[field] ?? whole(bare, raw)
  if (value === undefined) throw new Error(`decode ${what}: neither an MLSMessage nor the bare struct`)
  return value
}

async function sender(message, group, suite) {
  if (message.wireformat === "mls_public_message") return message.publicMessage.content.sender.leafIndex
  const { privateMessage } = message
  const past = group.historicalReceiverData.get(privateMessage.epoch)
  const secret = past?.senderDataSecret ?? group.keySchedule.senderDataSecret
  return (await decryptSenderData(privateMessage, secret, suite))?.leafIndex
}

const stack = {
  async suite(id) {
    const suite = getCiphersuiteFromId(id)
    if (suite === undefined) throw new Error(`cipher suite ${id} is unknown to ts-mls 1`)
    return mls.getCiphersuiteImpl(suite)
  },
  async newPackage({ suite }, _id, identity, keys) {
    const credential = { credentialType: "basic", identity }
    return mls.generateKeyPackageWithKey(credential, mls.defaultCapabilities(), mls.defaultLifetime, [], keys, suite)
  },
  encodeKeyPackage: (keyPackage) => encode({ wireformat: "mls_key_package", keyPackage }),
  decodeKeyPackage: (raw) => decodeEither(raw, "key package", "keyPackage", decodeKeyPackage),
  create({ suite }, groupId, { publicPackage, privatePackage }) {
    return mls.createGroup(groupId, publicPackage, privatePackage, [], suite, config)
  },
  async join({ suite, psks }, raw, packages, tree) {
    const welcome = decodeEither(raw, "welcome", "welcome", decodeWelcome)
    const ratchetTree = tree && decodeRatchetTree(tree, 0)[0]
    let failure = new Error("no key package to join with")
    for (const { publicPackage, privatePackage } of packages) {
      try {
        const find = mls.makePskIndex(undefined, psks)
        return await mls.joinGroup(welcome, publicPackage, privatePackage, find, suite, ratchetTree, undefined, config)
      } catch (err) {
        failure = err
      }
    }
    throw failure
  },
  proposals: {
    add: (keyPackage) => ({ proposalType: "add", add: { keyPackage } }),
    remove: (removed) => ({ proposalType: "remove", remove: { removed } }),
    psk: (pskId, suite) => ({
      proposalType: "psk",
      psk: { preSharedKeyId: { psktype: "external", pskId, pskNonce: suite.rng.randomBytes(suite.kdf.size) } },
    }),
  },
  extensionsProposal: (extensions) => ({
    proposalType: "group_context_extensions", groupContextExtensions: { extensions },
  }),
  async updateProposal({ suite }, group, hpkePublicKey) {
    const { leafIndex } = group.privatePath
    const { signaturePublicKey, credential, capabilities, extensions } = group.ratchetTree[2 * leafIndex].leaf
    const leaf = { hpkePublicKey, signaturePublicKey, credential, capabilities, extensions, leafNodeSource: "update" }
    const tbs = { ...leaf, groupId: group.groupContext.groupId, leafIndex }
    const leafNode = await signLeafNodeCommit(tbs, group.signaturePrivateKey, suite.signature)
    return { proposalType: "update", update: { leafNode } }
  },
  async commit({ suite, psks }, state, extraProposals, wireAsPublicMessage) {
    const context = { state, cipherSuite: suite, pskIndex: mls.makePskIndex(state, psks) }
    const options = { extraProposals, wireAsPublicMessage, ratchetTreeExtension: true }
    const { newState, commit, welcome } = await mls.createCommit(context, options)
    return {
      group: newState,
      commit: mls.encodeMlsMessage(commit),
      welcome: welcome && encode({ wireformat: "mls_welcome", welcome }),
    }
  },
  async groupInfo({ suite }, group, asWritten) {
    const info = await mls.createGroupInfoWithExternalPubAndRatchetTree(group, [], suite)
    if (asWritten) return encode({ wireformat: "mls_group_info", groupInfo: info })
    const fixed = withExternalPub(info, "external_pub", prefixed)
    return encode({
      wireformat: "mls_group_info",
      groupInfo: await signGroupInfo(fixed, group.signaturePrivateKey, suite.signature),
    })
  },
  async externalJoin({ suite }, raw, { publicPackage, privatePackage }, resync) {
    const info = showingExternalPub(decode(raw, "group info").groupInfo, "external_pub", unprefixed)
    const { publicMessage, newState } = await mls.joinGroupExternal(
      info, publicPackage, privatePackage, resync, suite, undefined, config)
    return { group: newState, commit: encode({ wireformat: "mls_public_message", publicMessage }) }
  },
  async propose({ suite }, group, proposal, wireAsPublicMessage) {
    const { newState, message } = await mls.createProposal(group, wireAsPublicMessage, proposal, suite)
    return { group: newState, message: mls.encodeMlsMessage(message) }
  },
  async process({ suite, psks }, group, raw, callback) {
    const message = decode(raw, "message")
    const find = mls.makePskIndex(group, psks)
    const isPublic = message.wireformat === "mls_public_message"
    if (!isPublic && message.wireformat !== "mls_private_message") throw new Error(`cannot process ${message.wireformat}`)
    // mls.processMessage would forget the external PSKs of private messages.
    const result = isPublic
      ? await mls.processPublicMessage(group, message.publicMessage, find, suite, callback)
      : await mls.processPrivateMessage(group, message.privateMessage, find, suite, callback)
    const content = isPublic ? message.publicMessage.content : message.privateMessage
    const event = { group: result.newState, kind: content.contentType, sender: await sender(message, group, suite) }
    if (result.kind !== "applicationMessage") return event
    return { ...event, plaintext: Buffer.from(result.message).toString("hex"), epoch: Number(content.epoch) }
  },
  async encrypt({ suite }, group, plaintext, aad) {
    const { newState, privateMessage } = await mls.createApplicationMessage(group, plaintext, suite, aad)
    return { group: newState, message: encode({ wireformat: "mls_private_message", privateMessage }) }
  },
  export: (suite, group, label, context, length) =>
    mls.mlsExporter(group.keySchedule.exporterSecret, label, context, length, suite),
  encodeGroup: (group) => mls.encodeGroupState(group),
  decodeGroup: (raw) => ({ ...mls.decodeGroupState(raw, 0)[0], clientConfig: config }),
}

await serve(new Peer(stack))
