// Package cli is tctl, one file per verb.
//
// Exit codes: 0 done; 1 refused or failed, and standard error says why; 2 the command line itself is wrong.
package cli
