import P2PFS
import Synchronization
import Testing

/// Two peers in this program, met through a signaling server of the host's own, connected by WebRTC over loopback.
enum Loopback {
  /// Runs `body` with the guest as the host sees it, and the host as the guest sees it; afterwards closes both.
  static func pair(
    share: SharedDirectory? = nil, guestShares: SharedDirectory? = nil,
    _ body: (_ guest: Peer, _ host: Peer) async throws -> Void
  ) async throws {
    var options = Peer.Options()
    options.share = share
    let host = try await Host.start(options: options, address: "127.0.0.1")
    options.share = guestShares
    let toHost = try await Peer.connect(to: host.code, options: options)
    var guests = host.peers.makeAsyncIterator()
    let toGuest = try #require(await guests.next())
    do { try await body(toGuest, toHost) } catch {
      await toHost.close(within: .zero)
      await host.close(within: .zero)
      throw error
    }
    await toHost.close(within: .zero)
    await host.close(within: .zero)
  }

  /// Both ends of a channel that the host has opened.
  static func channel(
    _ guest: Peer, _ host: Peer, as kind: P2PFS.Channel.Kind = .messages
  ) async throws -> (opened: P2PFS.Channel, accepted: P2PFS.Channel) {
    async let opened = guest.open("test", as: kind)
    var incoming = host.channels.makeAsyncIterator()
    let accepted = try #require(await incoming.next()).accept()
    return (try await opened, accepted)
  }
}

/// Bytes that do not repeat soon, the same for each seed.
func pattern(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
  var state = seed
  return [UInt8](unsafeUninitializedCapacity: count + 8) { buffer, initialized in
    let bytes = UnsafeMutableRawBufferPointer(buffer)
    for offset in stride(from: 0, to: count, by: 8) {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      bytes.storeBytes(of: state ^ state >> 32, toByteOffset: offset, as: UInt64.self)
    }
    initialized = count
  }
}
