// Package store keeps what users declare and what edges observe.
package store
