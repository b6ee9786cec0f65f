package fsm

import "quicproquo/schemas"

// A command that was perhaps sent before can't be refused by a node alone: its first copy
// may be on its way to the log. It goes there again, and its request id keeps it from
// being carried out twice. What is large and bound to be refused would cost the log its
// whole size each time, so the node proposes the refusal in its place (refuse): under the
// same request id and with the command's fingerprint. Whichever comes first decides, and
// the other hears of its outcome (docs/decisions/0136).

type refuseRequest struct {
	fingerprint uint64
	code        schemas.Code
	value       uint64
}

func (r *request) decodeRefuse(cmd schemas.Entry_command) error {
	msg, err := cmd.Refuse()
	if err != nil {
		return err
	}
	r.refuse = refuseRequest{msg.Fingerprint(), msg.Code(), msg.Value()}
	return nil
}

// checkRefuse is the outcome of an id that has none. The code may be one of a later build.
func checkRefuse(_ state, r *request) refusal {
	if r.refuse.code == schemas.Code_ok {
		return refuse(schemas.Code_malformed)
	}
	return refusal{r.refuse.code, r.refuse.value}
}

// applyRefuse never runs: the check always refuses.
func applyRefuse(tx *Tx, _ *request) Result {
	tx.fail(brokenf("command %d is a refusal that was not refused", tx.meta.commands))
	return Result{}
}

// Refusal is what a node proposes in place of a command that it knows to be refused.
type Refusal struct {
	Fingerprint uint64
	Code        schemas.Code
	Value       uint64
}

// RefuseInstead reports whether a refusal may stand in for an entry, and which: the rules of
// the log must know it, and it must be smaller by more than a few KiB. result is what
// Check has said.
func (v *View) RefuseInstead(entry []byte, result Result) (Refusal, bool) {
	v.err = nil
	if len(entry) <= 2*entrySlack || result.Code == schemas.Code_ok || !since(v, levelRegistration) || v.err != nil {
		return Refusal{}, false
	}
	r, err := v.decoder.decode(entry)
	if err != nil {
		return Refusal{}, false
	}
	var print fingerprint
	return Refusal{print.of(r), result.Code, result.Value}, true
}

// Outcome returns the outcome of an entry's request id, if this view knows it: it is the
// same for ever. The outcome of another command under that id is requestIdReused.
func (v *View) Outcome(entry []byte) (Result, bool, error) {
	if v.decoder == nil {
		v.decoder = &decoder{}
	}
	r, err := v.decoder.decode(entry)
	if err != nil {
		return Result{}, false, err
	}
	v.err = nil
	row, known := v.outcome(r)
	if err := v.readError("outcome"); err != nil || !known {
		return Result{}, false, err
	}
	result, of, err := decodeOutcome(row)
	var print fingerprint
	if err == nil && of != 0 && of != print.of(r) {
		result = Result{Code: schemas.Code_requestIdReused}
	}
	return result, true, err
}
