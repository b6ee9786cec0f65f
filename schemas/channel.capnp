@0x9c4be7d1f06a2358;
# Channels: one for each unordered pair of accounts.

using Go = import "go.capnp";
$Go.package("schemas");
$Go.import("quicproquo/schemas");

using Auth = import "auth.capnp".Auth;

struct CreateChannelParams {
  auth @0 :Auth;
  peerKey @1 :Data;
  # The other account's identity key, 32 bytes.
  channelId @2 :Data;
  # In a log entry set by the node: 16 random bytes, used if the channel is new.
}

struct CreateChannelResults {
  channelId @0 :Data;
  # The pair's: whoever asks, and however often, gets the same one.
  wasNew @1 :Bool;
}

struct Channel {
  channelId @0 :Data;
  peerKey @1 :Data;
  createdAtMs @2 :UInt64;
  queued @3 :UInt64;
  # Envelopes in the caller's queue of this channel.
}

struct ListChannelsParams {
  auth @0 :Auth;
  after @1 :Data;
  # Empty, or the last channelId of the page before.
  limit @2 :UInt32;
  # 0: 100; at most 1,024.
}

struct ListChannelsResults {
  channels @0 :List(Channel);
  # In the order of their ids.
  more @1 :Bool;
}
