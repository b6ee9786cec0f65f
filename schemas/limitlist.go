package schemas

// Limit is a limit by its name: a count, bytes or seconds.
type Limit struct {
	Name  string
	Value float64
}

// Limits lists the limits of the protocol for those who show them. A test holds
// it against the constants (rpc, TestLimitsPage).
func Limits() []Limit {
	return []Limit{
		{"MaxBody", MaxBody},
		{"MaxEphemeralBody", MaxEphemeralBody},
		{"MaxHeader", MaxHeader},
		{"MaxRecipients", MaxRecipients},
		{"MaxFetch", MaxFetch},
		{"DefaultFetch", DefaultFetch},
		{"MaxFetchBytes", MaxFetchBytes},
		{"MaxRequestOpen", MaxRequestOpen},
		{"MaxRequest", MaxRequest},
		{"MaxResponse", MaxResponse},
		{"MaxPeerMessage", MaxPeerMessage},
		{"MaxSegments", MaxSegments},
		{"MaxEntry", MaxEntry},
		{"MaxBatchEntries", MaxBatchEntries},
		{"MaxBatchBytes", MaxBatchBytes},
		{"MaxEnvelope", MaxEnvelope},
		{"MaxSettings", MaxSettings},
		{"MaxMembers", MaxMembers},
		{"AccountKeySize", AccountKeySize},
		{"DeviceIDSize", DeviceIDSize},
		{"ChannelIDSize", ChannelIDSize},
		{"RequestIDSize", RequestIDSize},
		{"TokenSize", TokenSize},
		{"TokenHashSize", TokenHashSize},
		{"HandshakeIDSize", HandshakeIDSize},
		{"InviteSize", InviteSize},
		{"InviteHashSize", InviteHashSize},
		{"MaxInviteUses", MaxInviteUses},
		{"NameHashSize", NameHashSize},
		{"SignatureSize", SignatureSize},
		{"HybridKeySize", HybridKeySize},
		{"MaxUsername", MaxUsername},
		{"MaxAccountRecord", MaxAccountRecord},
		{"MaxDeviceName", MaxDeviceName},
		{"MaxEndpoint", MaxEndpoint},
		{"MaxRevocations", MaxRevocations},
		{"MaxInstances", MaxInstances},
		{"MaxSecretName", MaxSecretName},
		{"MaxSecret", MaxSecret},
		{"MaxRenewals", MaxRenewals},
		{"MaxKeyPackage", MaxKeyPackage},
		{"MaxKeyPackages", MaxKeyPackages},
		{"MaxKeyPackageDays", MaxKeyPackageDays},
		{"MaxIdentities", MaxIdentities},
		{"MinGroupID", MinGroupID},
		{"MaxGroupID", MaxGroupID},
		{"MaxDeliveries", MaxDeliveries},
		{"MaxGroupInfo", MaxGroupInfo},
		{"MaxContacts", MaxContacts},
		{"MaxCursors", MaxCursors},
		{"MaxChannels", MaxChannels},
		{"MaxDrainBytes", MaxDrainBytes},
		{"WireVersion", WireVersion},
		{"AuthVersion", AuthVersion},
		{"EntryVersion", EntryVersion},
		{"FeatureLevel", FeatureLevel},
		{"MaxWait", MaxWait.Seconds()},
		{"MaxCallTimeout", MaxCallTimeout.Seconds()},
		{"DefaultCallTimeout", DefaultCallTimeout.Seconds()},
	}
}
