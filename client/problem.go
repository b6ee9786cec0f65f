package client

import "fmt"

// Problem is an error of the client itself, with what to do about it.
type Problem struct{ what, next string }

func (p *Problem) Error() string { return p.what }

// Hint is what to do about the problem.
func (p *Problem) Hint() string { return p.next }

// Problems of a client, to compare with errors.Is.
var (
	ErrNoServer      = &Problem{"no server is configured", "Give the address of a node of the cluster."}
	ErrNotRegistered = &Problem{"this profile has no account", "Register one, or import the backup of a profile that has one."}
	ErrCopied        = &Problem{
		"this profile was copied, or restored from a backup: another copy of it has been used since, so this one has stopped",
		"Use one copy only, and delete the other. To go on with this one, take over: its conversations then come back with new keys, and the other copy stops.",
	}
	ErrRegistered     = &Problem{"this profile has an account already", "Log in to it, or use another profile for another account."}
	ErrNotLoggedIn    = &Problem{"nobody is logged in", "Log in."}
	ErrNoConversation = &Problem{"there is no such conversation", "List the conversations, or open one with a person by their username."}
	ErrAmbiguous      = &Problem{"several conversations go by this name", "Use the conversation's id, or more of it."}
	ErrNotGroup       = &Problem{"this is a conversation of two people", "Create a group for that."}
	ErrNotMember      = &Problem{"you are not a member of this conversation any more", "Ask a member to invite you again."}
	ErrNotAdmin       = &Problem{"only an admin of the group may do that", "Ask one of its admins: the list of members names them."}
	ErrLastAdmin      = &Problem{"the group would have no admin left", "Promote another member first."}
	ErrNotIn          = &Problem{"the account is not a member of this group", "List the members."}
	ErrAlreadyIn      = &Problem{"the account is a member of this group already", "There is nothing to do."}
	ErrSelf           = &Problem{"this is your own account", "Name somebody else."}
	ErrUntrustedKey   = &Problem{
		"the account's identity key is another than the one that you know",
		"Somebody registered the name anew, or the server lies. Compare safety numbers by other means before you trust it.",
	}
	ErrNotInvited   = &Problem{"not everybody could be invited", "The others are in. It is tried again until you take the invitation back."}
	ErrCancelled    = &Problem{"the invitation was taken back", "Invite again if it should be made all the same."}
	ErrRequest      = &Problem{"this is a request that you have not accepted", "Accept it, or decline it."}
	ErrNoRequest    = &Problem{"there is nothing to accept or decline", "List the requests."}
	ErrUnproven     = &Problem{"nothing proves that the conversation's new keys are your friend's", "Compare safety numbers by other means; then accept the new keys, or decline them."}
	ErrNamedByOther = &Problem{"that is what somebody else calls a group", "Write # before a group's title, or use its id, or give it a name of your own."}
	ErrIncompatible = &Problem{"the other's client can't take part in this conversation", "It must be updated first."}
	ErrNoWayBack    = &Problem{"there is no way back into the conversation that we can open", "Ask a member to remove and invite you again."}
	ErrMoot         = &Problem{"there is nothing to change", "It is so already."}
	ErrNotSent      = &Problem{"the message was not sent, and will not be", "Look at the conversation's members; say it again where somebody can get it."}
	ErrNoMessage    = &Problem{"there is no such message here", "Look at the history: it may have disappeared, or be in another conversation."}
	ErrNotYours     = &Problem{"the message is another's", "Only messages of your own can be changed or taken back."}
	ErrDeleted      = &Problem{"the message has been taken back already", "There is nothing left of it."}
	ErrTooLong      = &Problem{"the text is too long", "Shorten it, or send it in parts."}
	ErrBroken       = &Problem{"the conversation's state at the server can't be continued by anybody we know", "Create a new group with its members."}
)

// because says what a problem is about.
func because(p *Problem, format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, p)...)
}
