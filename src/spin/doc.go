// Package spin is what loops need that wait for another processor: a pause that is gentle on a hyper-thread beside, and a store
// that does not wait until others have seen it.
package spin
