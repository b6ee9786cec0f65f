// Package rogue builds what a member of a group who keeps to no rule can send: messages,
// welcomes, group infos and trees that are framed, signed and tagged as they must be,
// and wrong. A stranger and a server can send less than such a member can.
//
// It is for tests, simulations and chaos runs. It must never be part of a program that
// people run: TestWhatProgramsLink at the root holds that. It takes a member's secrets from
// the group's saved state, so package mls has no door for it.
//
// Every choice is taken from a [Dice], so a seed gives the same choices again; keys and
// nonces are fresh each time.
//
// Reading order: member.go (what a member knows), frame.go (framing anything),
// commit.go (a commit and its welcome), fields.go, proposals.go, joins.go and
// groupinfo.go (each field of each structure, spoiled), attack.go (the kinds of attack).
package rogue
