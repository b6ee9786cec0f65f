// Package reference keeps a leader from sending back what it was sent. An entry
// that a follower forwards comes back to it within the log entry of its batch; the
// follower has just had it in its hands. So it keeps what it forwards for a while
// (Kept), under a number that goes along, and the leader sends it log entries in
// which a piece stands for those bytes (Describe, Shorten, Restore).
//
// Nothing depends on it: a piece whose bytes are gone, or are not what the leader
// has, makes the follower refuse the request, and the leader sends it in full.
// Decision 0024.
package reference
