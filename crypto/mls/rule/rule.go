// Package rule names every validation rule of RFC 9420 (and of draft-ietf-mls-extensions
// where a section says so). An error that refuses a message carries the rule it broke, so
// specification, code and test are linked by one constant. The catalogue test in
// package mls proves that no rule is without a message that breaks it.
//
// This package must never say anything about secrets: a detail names indices, types and
// sizes only.
//
// Reading order: rule.go (catalogue), error.go.
package rule

// Rule is one validation rule.
type Rule uint8

// The catalogue, in the order of the protocol. The comment of each is what must hold.
const (
	invalid Rule = iota

	// LeafSignature: the signature of a leaf node verifies under its signature key (§7.3).
	LeafSignature
	// LeafCredential: a credential is accepted by the authentication service (§5.3.1).
	LeafCredential
	// LeafCertificateKey: an X.509 end-entity certificate carries the leaf's signature key (§5.3).
	LeafCertificateKey
	// LeafRequired: a leaf node lists every capability that the group requires (§7.3).
	LeafRequired
	// LeafCredentialSupported: a credential type is supported by all members of the group (§7.3).
	LeafCredentialSupported
	// LeafSupportsCredentials: a leaf node supports every credential type in use (§7.3).
	LeafSupportsCredentials
	// LeafCredentialListed: a leaf node lists the type of its own credential (§7.2).
	LeafCredentialListed
	// LeafExtensionsListed: a leaf node lists the types of its own extensions (§7.3).
	LeafExtensionsListed
	// LeafDefaultsListed: a leaf node does not list default proposal or extension types (§7.2).
	LeafDefaultsListed
	// LeafVersion: a leaf node lists the group's protocol version (§7.2).
	LeafVersion
	// LeafSuite: a leaf node lists the group's cipher suite (§7.2).
	LeafSuite
	// LeafGroupExtensions: a leaf node supports every extension in the group context (§13.4).
	LeafGroupExtensions
	// LeafLifetime: the current time is within the lifetime of a leaf node (§7.3).
	LeafLifetime
	// LeafLifetimeTotal: the total lifetime of a leaf node is acceptable (§7.2).
	LeafLifetimeTotal
	// LeafSourceKeyPackage: the leaf node of a key package has source key_package (§7.3).
	LeafSourceKeyPackage
	// LeafSourceUpdate: the leaf node of an Update has source update (§7.3).
	LeafSourceUpdate
	// LeafSourceCommit: the leaf node of an UpdatePath has source commit (§7.3).
	LeafSourceCommit
	// LeafFreshKey: an Update or UpdatePath brings a new encryption key (§7.3).
	LeafFreshKey
	// LeafSignatureKeyUnique: signature keys are unique among the members (§7.3).
	LeafSignatureKeyUnique
	// LeafEncryptionKeyUnique: encryption keys are unique among the members (§7.3).
	LeafEncryptionKeyUnique
	// LeafKeys: the keys of a leaf node are well formed for the cipher suite (§10).
	LeafKeys
	// ExtensionsUnique: a list of extensions has at most one of each type (§13.4).
	ExtensionsUnique
	// KeyPackageVersion: a key package has the group's protocol version (§10.1).
	KeyPackageVersion
	// KeyPackageSuite: a key package has the group's cipher suite (§10.1).
	KeyPackageSuite
	// KeyPackageSignature: the signature of a key package verifies (§10.1).
	KeyPackageSignature
	// KeyPackageInitKey: the init key differs from the leaf's encryption key (§10.1).
	KeyPackageInitKey
	// KeyPackageInitUnique: the init key differs from every key of the tree and of the same commit (§10).
	KeyPackageInitUnique
	// FrameVersion: a message has protocol version mls10 (§6).
	FrameVersion
	// FrameGroup: a message is for this group (§6).
	FrameGroup
	// FrameEpoch: a handshake message is for the current epoch (§12.4.2).
	FrameEpoch
	// FrameEpochRetained: an application message is for the current or a retained epoch (§15.3).
	FrameEpochRetained
	// FrameSender: the sender of a message is a member (§6.1).
	FrameSender
	// FrameSignature: the signature of a message verifies (§6.1).
	FrameSignature
	// FrameMembershipTag: the membership tag of a public message verifies (§6.2).
	FrameMembershipTag
	// FrameApplication: application data is sent as a private message (§6).
	FrameApplication
	// FramePadding: padding is all zero (§6.3.1).
	FramePadding
	// FrameSenderType: the content type is allowed for the sender type (§6.1).
	FrameSenderType
	// FrameRatchetTooFar: a generation is not too far ahead of the sender's ratchet (§15.3).
	FrameRatchetTooFar
	// FrameGenerationUsed: a generation is used once (§9.2).
	FrameGenerationUsed
	// ExternalSenderIndex: an external sender is listed in external_senders (§12.1.8.1).
	ExternalSenderIndex
	// ExternalSenderProposal: an external sender proposes only what it may (§12.1.8).
	ExternalSenderProposal
	// NewMemberProposal: a new member proposes only its own Add (§6.1).
	NewMemberProposal
	// RemoveMember: a Remove names a member (§12.1.3).
	RemoveMember
	// PSKUsage: a PreSharedKey proposal does not use reinit or branch PSKs (§12.1.4).
	PSKUsage
	// PSKNonce: a PSK nonce has KDF.Nh bytes (§12.1.4).
	PSKNonce
	// PSKAvailable: every PSK that a commit names is known (§12.4.2).
	PSKAvailable
	// ReInitVersion: a ReInit does not lower the protocol version (§12.1.5).
	ReInitVersion
	// ContextRequired: all members support newly required capabilities (§12.1.7).
	ContextRequired
	// ContextExtensions: all members support newly added group context extensions (§13.4).
	ContextExtensions
	// ContextPlaces: a group context has no ratchet_tree or external_pub extension, which belong to a group info (§17.3).
	ContextPlaces
	// ContextExternalSenders: external_senders decodes and its credentials are accepted (§5.3.1).
	ContextExternalSenders
	// SelfRemoveReference: a SelfRemove is committed by reference only (§extensions 4.3).
	SelfRemoveReference
	// SelfRemovePublic: a SelfRemove is sent as a public message by a member (§extensions 4.3).
	SelfRemovePublic
	// ListUnknownReference: a commit names only proposals that are known (§12.4).
	ListUnknownReference
	// ListOwnUpdate: a commit contains no Update of its committer (§12.2).
	ListOwnUpdate
	// ListOwnRemove: a commit does not remove its committer (§12.2).
	ListOwnRemove
	// ListSameLeaf: a commit has one Update or Remove per leaf (§12.2).
	ListSameLeaf
	// ListDuplicateAdd: a commit adds a client once (§12.2).
	ListDuplicateAdd
	// ListAddMember: a commit does not add a client that is a member (§12.2).
	ListAddMember
	// ListDuplicatePSK: a commit names a PSK once (§12.2).
	ListDuplicatePSK
	// ListContextTwice: a commit has at most one GroupContextExtensions (§12.2).
	ListContextTwice
	// ListReInitAlone: a ReInit is committed alone (§12.2).
	ListReInitAlone
	// ListExternalInit: a member's commit contains no ExternalInit (§12.2).
	ListExternalInit
	// ListUnsupported: every member supports the proposal types of a commit (§12.2).
	ListUnsupported
	// ExternalOneInit: an external commit has exactly one ExternalInit (§12.2).
	ExternalOneInit
	// ExternalOneRemove: an external commit has at most one Remove (§12.2).
	ExternalOneRemove
	// ExternalOther: an external commit has no proposals beyond ExternalInit, Remove, PreSharedKey and SelfRemove (§12.2).
	ExternalOther
	// ExternalReference: an external commit names no proposals by reference, SelfRemove aside (§12.4.3.2).
	ExternalReference
	// ExternalPath: an external commit has a path (§12.4.3.2).
	ExternalPath
	// ExternalSuccessor: the joiner of a resync presents an identity acceptable for the removed leaf (§12.2).
	ExternalSuccessor
	// PathRequired: a commit has a path unless every proposal allows its absence (§12.4).
	PathRequired
	// PathLength: an UpdatePath has one node per node of the filtered direct path (§7.5).
	PathLength
	// PathCiphertexts: an UpdatePath node has one ciphertext per node of the copath resolution (§7.6).
	PathCiphertexts
	// PathParentHash: the parent hash of a committer's leaf matches its path (§7.9.2).
	PathParentHash
	// PathKeysFresh: public keys of an UpdatePath appear nowhere else in the tree (§12.4.2).
	PathKeysFresh
	// PathSecret: a path secret decrypts and gives the published public keys (§7.5).
	PathSecret
	// ConfirmationTag: the confirmation tag of a commit verifies (§12.4.2).
	ConfirmationTag
	// GroupClosed: a reinitialised or left group sends and accepts nothing more (§12.4.2).
	GroupClosed
	// SendPending: known proposals are committed before application data is sent (§12.4).
	SendPending
	// WelcomeForUs: a welcome names one of our key packages (§12.4.3.1).
	WelcomeForUs
	// WelcomeSuite: a welcome has the key package's cipher suite (§12.4.3.1).
	WelcomeSuite
	// WelcomeSecrets: the group secrets of a welcome decrypt (§12.4.3.1).
	WelcomeSecrets
	// WelcomePSK: every PSK that a welcome names is known (§12.4.3.1).
	WelcomePSK
	// WelcomePSKTwice: a welcome names a PSK once (§8.4).
	WelcomePSKTwice
	// WelcomeOnePSK: a reinit or branch PSK is the only such PSK (§12.4.3.1).
	WelcomeOnePSK
	// GroupInfoSignature: the group info is signed by a member (§12.4.3.1).
	GroupInfoSignature
	// GroupInfoSuite: the group info has the key package's version and cipher suite (§12.4.3.1).
	GroupInfoSuite
	// GroupInfoGroup: the group id is not one we are in already (§12.4.3.1).
	GroupInfoGroup
	// GroupInfoExtensions: the joiner supports every group context extension (§13.4).
	GroupInfoExtensions
	// GroupInfoTag: the confirmation tag of a group info verifies (§12.4.3.1).
	GroupInfoTag
	// GroupInfoExternalPub: a group info for an external join has external_pub (§12.4.3.2).
	GroupInfoExternalPub
	// JoinLeaf: the tree contains the leaf of our key package (§12.4.3.1).
	JoinLeaf
	// JoinPathSecret: the path secret of a welcome gives the published public keys (§12.4.3.1).
	JoinPathSecret
	// JoinEpochOne: a reinitialised or branched group starts at epoch 1 (§12.4.3.1).
	JoinEpochOne
	// JoinReInit: a reinitialised group matches its ReInit and keeps all members (§12.4.3.1).
	JoinReInit
	// JoinBranch: a branched group has the old parameters and only old members (§12.4.3.1).
	JoinBranch
	// TreeMissing: a ratchet tree comes with or beside the group info (§12.4.3.3).
	TreeMissing
	// TreeShape: a ratchet tree ends in a non-blank node and has node kinds in their places (§12.4.3.3).
	TreeShape
	// TreeHash: the tree hash matches the group context (§12.4.3.1).
	TreeHash
	// TreeParentHash: every non-blank parent node is parent-hash valid (§7.9.2).
	TreeParentHash
	// TreeParentKeys: the encryption keys of parent nodes are well formed for the cipher suite (§7.1).
	TreeParentKeys
	// TreeUnmergedSorted: unmerged leaves are strictly increasing (§7.1).
	TreeUnmergedSorted
	// TreeUnmergedLeaf: an unmerged leaf is a member below its parent node (§12.4.3.1).
	TreeUnmergedLeaf
	// TreeUnmergedBetween: an unmerged leaf is unmerged in every node between (§12.4.3.1).
	TreeUnmergedBetween
	// TreeKeyUnique: a parent node's encryption key appears once in the tree (§12.4.3.1).
	TreeKeyUnique

	// Limit: no list is longer than any honest client makes it, so that a message costs
	// about what its bytes and signatures cost (§15, tree/limits.go, config.go).
	Limit

	end
)

var catalogue = [end]struct{ name, section, text string }{
	LeafSignature:           {"LeafSignature", "7.3", "the signature of a leaf node verifies under its signature key"},
	LeafCredential:          {"LeafCredential", "5.3.1", "a credential is accepted by the authentication service"},
	LeafCertificateKey:      {"LeafCertificateKey", "5.3", "an X.509 end-entity certificate carries the leaf's signature key"},
	LeafRequired:            {"LeafRequired", "7.3", "a leaf node lists every capability that the group requires"},
	LeafCredentialSupported: {"LeafCredentialSupported", "7.3", "a credential type is supported by all members of the group"},
	LeafSupportsCredentials: {"LeafSupportsCredentials", "7.3", "a leaf node supports every credential type in use"},
	LeafCredentialListed:    {"LeafCredentialListed", "7.2", "a leaf node lists the type of its own credential"},
	LeafExtensionsListed:    {"LeafExtensionsListed", "7.3", "a leaf node lists the types of its own extensions"},
	LeafDefaultsListed:      {"LeafDefaultsListed", "7.2", "a leaf node does not list default proposal or extension types"},
	LeafVersion:             {"LeafVersion", "7.2", "a leaf node lists the group's protocol version"},
	LeafSuite:               {"LeafSuite", "7.2", "a leaf node lists the group's cipher suite"},
	LeafGroupExtensions:     {"LeafGroupExtensions", "13.4", "a leaf node supports every extension in the group context"},
	LeafLifetime:            {"LeafLifetime", "7.3", "the current time is within the lifetime of a leaf node"},
	LeafLifetimeTotal:       {"LeafLifetimeTotal", "7.2", "the total lifetime of a leaf node is acceptable"},
	LeafSourceKeyPackage:    {"LeafSourceKeyPackage", "7.3", "the leaf node of a key package has source key_package"},
	LeafSourceUpdate:        {"LeafSourceUpdate", "7.3", "the leaf node of an Update has source update"},
	LeafSourceCommit:        {"LeafSourceCommit", "7.3", "the leaf node of an UpdatePath has source commit"},
	LeafFreshKey:            {"LeafFreshKey", "7.3", "an Update or UpdatePath brings a new encryption key"},
	LeafSignatureKeyUnique:  {"LeafSignatureKeyUnique", "7.3", "signature keys are unique among the members"},
	LeafEncryptionKeyUnique: {"LeafEncryptionKeyUnique", "7.3", "encryption keys are unique among the members"},
	LeafKeys:                {"LeafKeys", "10", "the keys of a leaf node are well formed for the cipher suite"},
	ExtensionsUnique:        {"ExtensionsUnique", "13.4", "a list of extensions has at most one of each type"},
	KeyPackageVersion:       {"KeyPackageVersion", "10.1", "a key package has the group's protocol version"},
	KeyPackageSuite:         {"KeyPackageSuite", "10.1", "a key package has the group's cipher suite"},
	KeyPackageSignature:     {"KeyPackageSignature", "10.1", "the signature of a key package verifies"},
	KeyPackageInitKey:       {"KeyPackageInitKey", "10.1", "the init key differs from the leaf's encryption key"},
	KeyPackageInitUnique:    {"KeyPackageInitUnique", "10", "the init key differs from every key of the tree and of the same commit"},
	FrameVersion:            {"FrameVersion", "6", "a message has protocol version mls10"},
	FrameGroup:              {"FrameGroup", "6", "a message is for this group"},
	FrameEpoch:              {"FrameEpoch", "12.4.2", "a handshake message is for the current epoch"},
	FrameEpochRetained:      {"FrameEpochRetained", "15.3", "an application message is for the current or a retained epoch"},
	FrameSender:             {"FrameSender", "6.1", "the sender of a message is a member"},
	FrameSignature:          {"FrameSignature", "6.1", "the signature of a message verifies"},
	FrameMembershipTag:      {"FrameMembershipTag", "6.2", "the membership tag of a public message verifies"},
	FrameApplication:        {"FrameApplication", "6", "application data is sent as a private message"},
	FramePadding:            {"FramePadding", "6.3.1", "padding is all zero"},
	FrameSenderType:         {"FrameSenderType", "6.1", "the content type is allowed for the sender type"},
	FrameRatchetTooFar:      {"FrameRatchetTooFar", "15.3", "a generation is not too far ahead of the sender's ratchet"},
	FrameGenerationUsed:     {"FrameGenerationUsed", "9.2", "a generation is used once"},
	ExternalSenderIndex:     {"ExternalSenderIndex", "12.1.8.1", "an external sender is listed in external_senders"},
	ExternalSenderProposal:  {"ExternalSenderProposal", "12.1.8", "an external sender proposes only what it may"},
	NewMemberProposal:       {"NewMemberProposal", "6.1", "a new member proposes only its own Add"},
	RemoveMember:            {"RemoveMember", "12.1.3", "a Remove names a member"},
	PSKUsage:                {"PSKUsage", "12.1.4", "a PreSharedKey proposal does not use reinit or branch PSKs"},
	PSKNonce:                {"PSKNonce", "12.1.4", "a PSK nonce has KDF.Nh bytes"},
	PSKAvailable:            {"PSKAvailable", "12.4.2", "every PSK that a commit names is known"},
	ReInitVersion:           {"ReInitVersion", "12.1.5", "a ReInit does not lower the protocol version"},
	ContextRequired:         {"ContextRequired", "12.1.7", "all members support newly required capabilities"},
	ContextExtensions:       {"ContextExtensions", "13.4", "all members support newly added group context extensions"},
	ContextPlaces:           {"ContextPlaces", "17.3", "a group context has no ratchet_tree or external_pub extension, which belong to a group info"},
	ContextExternalSenders:  {"ContextExternalSenders", "5.3.1", "external_senders decodes and its credentials are accepted"},
	SelfRemoveReference:     {"SelfRemoveReference", "extensions 4.3", "a SelfRemove is committed by reference only"},
	SelfRemovePublic:        {"SelfRemovePublic", "extensions 4.3", "a SelfRemove is sent as a public message by a member"},
	ListUnknownReference:    {"ListUnknownReference", "12.4", "a commit names only proposals that are known"},
	ListOwnUpdate:           {"ListOwnUpdate", "12.2", "a commit contains no Update of its committer"},
	ListOwnRemove:           {"ListOwnRemove", "12.2", "a commit does not remove its committer"},
	ListSameLeaf:            {"ListSameLeaf", "12.2", "a commit has one Update or Remove per leaf"},
	ListDuplicateAdd:        {"ListDuplicateAdd", "12.2", "a commit adds a client once"},
	ListAddMember:           {"ListAddMember", "12.2", "a commit does not add a client that is a member"},
	ListDuplicatePSK:        {"ListDuplicatePSK", "12.2", "a commit names a PSK once"},
	ListContextTwice:        {"ListContextTwice", "12.2", "a commit has at most one GroupContextExtensions"},
	ListReInitAlone:         {"ListReInitAlone", "12.2", "a ReInit is committed alone"},
	ListExternalInit:        {"ListExternalInit", "12.2", "a member's commit contains no ExternalInit"},
	ListUnsupported:         {"ListUnsupported", "12.2", "every member supports the proposal types of a commit"},
	ExternalOneInit:         {"ExternalOneInit", "12.2", "an external commit has exactly one ExternalInit"},
	ExternalOneRemove:       {"ExternalOneRemove", "12.2", "an external commit has at most one Remove"},
	ExternalOther:           {"ExternalOther", "12.2", "an external commit has no proposals beyond ExternalInit, Remove, PreSharedKey and SelfRemove"},
	ExternalReference:       {"ExternalReference", "12.4.3.2", "an external commit names no proposals by reference, SelfRemove aside"},
	ExternalPath:            {"ExternalPath", "12.4.3.2", "an external commit has a path"},
	ExternalSuccessor:       {"ExternalSuccessor", "12.2", "the joiner of a resync presents an identity acceptable for the removed leaf"},
	PathRequired:            {"PathRequired", "12.4", "a commit has a path unless every proposal allows its absence"},
	PathLength:              {"PathLength", "7.5", "an UpdatePath has one node per node of the filtered direct path"},
	PathCiphertexts:         {"PathCiphertexts", "7.6", "an UpdatePath node has one ciphertext per node of the copath resolution"},
	PathParentHash:          {"PathParentHash", "7.9.2", "the parent hash of a committer's leaf matches its path"},
	PathKeysFresh:           {"PathKeysFresh", "12.4.2", "public keys of an UpdatePath appear nowhere else in the tree"},
	PathSecret:              {"PathSecret", "7.5", "a path secret decrypts and gives the published public keys"},
	ConfirmationTag:         {"ConfirmationTag", "12.4.2", "the confirmation tag of a commit verifies"},
	GroupClosed:             {"GroupClosed", "12.4.2", "a reinitialised or left group sends and accepts nothing more"},
	SendPending:             {"SendPending", "12.4", "known proposals are committed before application data is sent"},
	WelcomeForUs:            {"WelcomeForUs", "12.4.3.1", "a welcome names one of our key packages"},
	WelcomeSuite:            {"WelcomeSuite", "12.4.3.1", "a welcome has the key package's cipher suite"},
	WelcomeSecrets:          {"WelcomeSecrets", "12.4.3.1", "the group secrets of a welcome decrypt"},
	WelcomePSK:              {"WelcomePSK", "12.4.3.1", "every PSK that a welcome names is known"},
	WelcomePSKTwice:         {"WelcomePSKTwice", "8.4", "a welcome names a PSK once"},
	WelcomeOnePSK:           {"WelcomeOnePSK", "12.4.3.1", "a reinit or branch PSK is the only such PSK"},
	GroupInfoSignature:      {"GroupInfoSignature", "12.4.3.1", "the group info is signed by a member"},
	GroupInfoSuite:          {"GroupInfoSuite", "12.4.3.1", "the group info has the key package's version and cipher suite"},
	GroupInfoGroup:          {"GroupInfoGroup", "12.4.3.1", "the group id is not one we are in already"},
	GroupInfoExtensions:     {"GroupInfoExtensions", "13.4", "the joiner supports every group context extension"},
	GroupInfoTag:            {"GroupInfoTag", "12.4.3.1", "the confirmation tag of a group info verifies"},
	GroupInfoExternalPub:    {"GroupInfoExternalPub", "12.4.3.2", "a group info for an external join has external_pub"},
	JoinLeaf:                {"JoinLeaf", "12.4.3.1", "the tree contains the leaf of our key package"},
	JoinPathSecret:          {"JoinPathSecret", "12.4.3.1", "the path secret of a welcome gives the published public keys"},
	JoinEpochOne:            {"JoinEpochOne", "12.4.3.1", "a reinitialised or branched group starts at epoch 1"},
	JoinReInit:              {"JoinReInit", "12.4.3.1", "a reinitialised group matches its ReInit and keeps all members"},
	JoinBranch:              {"JoinBranch", "12.4.3.1", "a branched group has the old parameters and only old members"},
	TreeMissing:             {"TreeMissing", "12.4.3.3", "a ratchet tree comes with or beside the group info"},
	TreeShape:               {"TreeShape", "12.4.3.3", "a ratchet tree ends in a non-blank node and has node kinds in their places"},
	TreeHash:                {"TreeHash", "12.4.3.1", "the tree hash matches the group context"},
	TreeParentHash:          {"TreeParentHash", "7.9.2", "every non-blank parent node is parent-hash valid"},
	TreeParentKeys:          {"TreeParentKeys", "7.1", "the encryption keys of parent nodes are well formed for the cipher suite"},
	TreeUnmergedSorted:      {"TreeUnmergedSorted", "7.1", "unmerged leaves are strictly increasing"},
	TreeUnmergedLeaf:        {"TreeUnmergedLeaf", "12.4.3.1", "an unmerged leaf is a member below its parent node"},
	TreeUnmergedBetween:     {"TreeUnmergedBetween", "12.4.3.1", "an unmerged leaf is unmerged in every node between"},
	TreeKeyUnique:           {"TreeKeyUnique", "12.4.3.1", "a parent node's encryption key appears once in the tree"},
	Limit:                   {"Limit", "15", "no list is longer than any honest client makes it"},
}
