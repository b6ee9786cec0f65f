// The operations of a test peer over a stack: an adapter that hides what differs between
// the two generations of ts-mls (ts-mls-1.mjs, ts-mls-2.mjs). It holds at most one group.
import { bytes, hex } from "./protocol.mjs"
import { signatureKeys } from "./keys.mjs"

const leafNode = (leafIndex) => 2 * leafIndex

export class Peer {
  ops = ["init", "keyPackage", "create", "commit", "join", "externalJoin", "propose", "process", "encrypt", "export", "state", "save", "load"]

  constructor(stack) {
    this.stack = stack
    this.reset()
  }

  reset() {
    this.settings = undefined
    this.suite = undefined
    this.keys = undefined
    this.packages = []
    this.psks = {}
    this.group = undefined
    this.sent = new Set()
    this.pendingUpdate = undefined
  }

  /** What the library calls need beside the group. */
  get context() {
    if (this.suite === undefined) throw new Error("send init or load first")
    return { suite: this.suite, psks: this.psks }
  }

  active() {
    const context = this.context
    if (this.group === undefined) throw new Error("not in a group: create, join, externalJoin or load first")
    if (this.group.groupActiveState.kind === "removedFromGroup") throw new Error("removed from the group")
    return context
  }

  get public() {
    return this.settings.wire === "public"
  }

  /** With asWritten, signature keys are what ts-mls makes: for NIST curves a defect. */
  async init(settings) {
    if (!["public", "private"].includes(settings.wire)) throw new Error("wire must be public or private")
    this.reset()
    this.suite = await this.stack.suite(settings.suite)
    this.keys = settings.asWritten
      ? await this.suite.signature.keygen()
      : await signatureKeys(settings.suite, this.suite)
    this.settings = settings
  }

  async newPackage() {
    const identity = bytes(this.settings.identity, "identity")
    return this.stack.newPackage(this.context, this.settings.suite, identity, this.keys)
  }

  async keyPackage() {
    const pkg = await this.newPackage()
    this.packages.push(pkg)
    return { keyPackage: hex(this.stack.encodeKeyPackage(pkg.publicPackage)) }
  }

  async create({ groupId }) {
    const context = this.context
    this.group = await this.stack.create(context, bytes(groupId, "groupId"), await this.newPackage())
    return { groupId, epoch: this.epoch }
  }

  get epoch() {
    return Number(this.group.groupContext.epoch)
  }

  know(psks) {
    psks ??= []
    for (const { id, secret } of psks) this.psks[Buffer.from(id, "hex").toString("base64")] = bytes(secret, "secret")
    return psks.map(({ id }) => this.stack.proposals.psk(bytes(id, "id"), this.suite))
  }

  /** Forgets what belonged to the epoch before. */
  advance(group) {
    this.group = group
    this.pendingUpdate = undefined
  }

  async commit({ add = [], remove = [], update = false, psk = [], groupContextExtensions, brief = false }) {
    const context = this.active()
    const { proposals } = this.stack
    const extra = [
      ...add.map((kp) => proposals.add(this.stack.decodeKeyPackage(bytes(kp, "add")))),
      ...remove.map((index) => proposals.remove(index)),
      ...this.know(psk),
    ]
    if (groupContextExtensions) extra.push(this.extensions(groupContextExtensions))
    if (update && extra.length > 0) throw new Error("ts-mls cannot force a path: update stands alone")
    const { group, commit, welcome } = await this.stack.commit(context, this.group, extra, this.public)
    this.advance(group)
    this.sent.add(hex(commit))
    return {
      commit: hex(commit),
      ...(welcome && { welcome: hex(welcome) }),
      ...(!brief && { groupInfo: hex(await this.stack.groupInfo(context, group)) }),
      epoch: this.epoch,
    }
  }

  extensions(list) {
    return this.stack.extensionsProposal(
      list.map(({ type, data }) => ({ extensionType: type, extensionData: bytes(data, "data") })),
    )
  }

  async join({ welcome, ratchetTree, psk }) {
    const context = this.context
    this.know(psk)
    const tree = ratchetTree && bytes(ratchetTree, "ratchetTree")
    this.advance(await this.stack.join(context, bytes(welcome, "welcome"), this.packages, tree))
    return { groupId: hex(this.group.groupContext.groupId), epoch: this.epoch }
  }

  async externalJoin({ groupInfo, resync = false }) {
    const info = bytes(groupInfo, "groupInfo")
    const { group, commit } = await this.stack.externalJoin(this.context, info, await this.newPackage(), resync)
    this.advance(group)
    this.sent.add(hex(commit))
    return { commit: hex(commit), epoch: this.epoch, groupId: hex(group.groupContext.groupId) }
  }

  async propose(args) {
    const context = this.active()
    const proposal = await this.proposal(args)
    const { group, message } = await this.stack.propose(context, this.group, proposal, this.public)
    this.group = group
    this.sent.add(hex(message))
    return { proposal: hex(message), epoch: this.epoch }
  }

  async proposal(args) {
    const { proposals } = this.stack
    switch (args.kind) {
      case "add":
        return proposals.add(this.stack.decodeKeyPackage(bytes(args.keyPackage, "keyPackage")))
      case "remove":
        return proposals.remove(args.removed)
      case "psk":
        return this.know([args])[0]
      case "update":
        return this.update()
      case "groupContextExtensions":
        return this.extensions(args.extensions ?? [])
      default:
        throw new Error(`unknown proposal kind ${JSON.stringify(args.kind)}`)
    }
  }

  /** An Update proposal for our leaf: ts-mls can apply one but has no call to make it. */
  async update() {
    const pair = await this.suite.hpke.generateKeyPair()
    const publicKey = await this.suite.hpke.exportPublicKey(pair.publicKey)
    this.pendingUpdate = await this.suite.hpke.exportPrivateKey(pair.privateKey)
    return this.stack.updateProposal(this.context, this.group, publicKey)
  }

  async process({ message }) {
    const context = this.active()
    if (this.sent.has(message)) return { kind: "echo", epoch: this.epoch }
    const raw = bytes(message, "message")
    const before = await this.withUpdate(context, raw)
    const { group, ...event } = await this.stack.process(context, before, raw)
    if (group.groupContext.epoch > this.group.groupContext.epoch || event.kind === "commit") this.advance(group)
    else this.group = group
    const removed = this.group.groupActiveState.kind === "removedFromGroup"
    return { ...event, ...(removed && { removed }), epoch: event.epoch ?? this.epoch }
  }

  /** The group with our new leaf key in place if raw is a commit that covers our Update. */
  async withUpdate(context, raw) {
    if (this.pendingUpdate === undefined) return this.group
    const { leafIndex, privateKeys } = this.group.privatePath
    let covered = false
    await this.stack.process(context, this.group, raw, ({ kind, proposals = [] }) => {
      covered = kind === "commit" && proposals.some((p) => p.senderLeafIndex === leafIndex && p.proposal.update)
      return "reject"
    })
    if (!covered) return this.group
    const keys = { ...privateKeys, [leafNode(leafIndex)]: this.pendingUpdate }
    return { ...this.group, privatePath: { leafIndex, privateKeys: keys } }
  }

  async encrypt({ plaintext, aad = "" }) {
    const context = this.active()
    const { group, message } = await this.stack.encrypt(context, this.group, bytes(plaintext, "plaintext"), bytes(aad, "aad"))
    this.group = group
    this.sent.add(hex(message))
    return { message: hex(message), epoch: this.epoch }
  }

  async export({ label, context, length }) {
    const { suite } = this.active()
    return { secret: hex(await this.stack.export(suite, this.group, label, bytes(context, "context"), length)) }
  }

  /** With asWritten, the group info shows external_pub as ts-mls writes it: a defect. */
  async state({ asWritten = false, brief = false }) {
    const context = this.active()
    const members = this.group.ratchetTree.flatMap((node, i) =>
      i % 2 === 1 || node === undefined
        ? []
        : [{ index: i / 2, identity: hex(node.leaf.credential.identity), signatureKey: hex(node.leaf.signaturePublicKey) }],
    )
    return {
      epoch: this.epoch,
      epochAuthenticator: hex(this.group.keySchedule.epochAuthenticator),
      ...(!brief && { groupInfo: hex(await this.stack.groupInfo(context, this.group, asWritten)) }),
      members,
      self: this.group.privatePath.leafIndex,
    }
  }

  /** Everything but what was sent: a loaded peer no longer knows its own echoes. */
  async save() {
    const state = {
      settings: this.settings,
      keys: [hex(this.keys.signKey), hex(this.keys.publicKey)],
      psks: Object.entries(this.psks).map(([id, secret]) => [id, hex(secret)]),
      packages: this.packages.map((p) => [
        hex(this.stack.encodeKeyPackage(p.publicPackage)),
        ...["initPrivateKey", "hpkePrivateKey", "signaturePrivateKey"].map((k) => hex(p.privatePackage[k])),
      ]),
      group: this.group && hex(this.stack.encodeGroup(this.group)),
      pendingUpdate: this.pendingUpdate && hex(this.pendingUpdate),
    }
    return { state: hex(Buffer.from(JSON.stringify(state))) }
  }

  async load({ state }) {
    const saved = JSON.parse(Buffer.from(bytes(state, "state")).toString())
    const from = (text) => bytes(text, "state")
    this.reset()
    this.settings = saved.settings
    this.suite = await this.stack.suite(saved.settings.suite)
    this.keys = { signKey: from(saved.keys[0]), publicKey: from(saved.keys[1]) }
    this.psks = Object.fromEntries(saved.psks.map(([id, secret]) => [id, from(secret)]))
    this.packages = saved.packages.map(([pub, init, leaf, sign]) => ({
      publicPackage: this.stack.decodeKeyPackage(from(pub)),
      privatePackage: { initPrivateKey: from(init), hpkePrivateKey: from(leaf), signaturePrivateKey: from(sign) },
    }))
    this.group = saved.group && this.stack.decodeGroup(from(saved.group))
    this.pendingUpdate = saved.pendingUpdate && from(saved.pendingUpdate)
  }
}
