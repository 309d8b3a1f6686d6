package import Session

/// A session's channel: SwiftNIO has a type of the same name.
package typealias PeerChannel = Channel
typealias PeerChannelError = ChannelError
