import P2PFSCore
import DequeModule
import Glibc

/// Payload protocol identifiers, RFC 8831 section 8.
private enum ProtocolID {
  static let establishment: UInt32 = 50
  static let text: UInt32 = 51
  static let binary: UInt32 = 53
  static let emptyText: UInt32 = 56
  static let emptyBinary: UInt32 = 57
}

extension Connection {
  /// Opens a channel on the lowest free stream of ours: even ones are the DTLS client's, RFC 8832 section 6.
  func open(label: String, protocol name: String) throws(TransportError) -> DataChannel {
    try state.requireUp()
    guard max(label.utf8.count, name.utf8.count) <= Limits.Transport.label else { throw .wrongState("label too long") }
    let stream = try streams.free(isClient: state.isClient == true)
    let channel = DataChannel(label: label, protocol: name, stream: stream, outbox: outbox, kept: kept)
    streams.open(channel, on: stream)
    establish(channel, .open(channelType: 0, label: label, protocol: name))
    return channel
  }

  private func establish(_ channel: DataChannel, _ message: DataChannelEstablishment) {
    channel.outgoing.append(.init(content: .establishment, frame: message.frame))
    makeReady(channel)
    markDirty()
  }

  private func makeReady(_ channel: DataChannel) {
    guard !channel.isReady else { return }
    channel.isReady = true
    ready.append(channel)
  }

  /// Gives messages to SCTP as long as it admits them, one of each channel in turn.
  func pump() {
    guard state.ended == nil else { return }
    outbox.take(into: &taken)
    for (channel, item) in taken {
      if case .abort = item.content { abort(channel, item.frame) } else { channel.outgoing.append(item) }
      makeReady(channel)
    }
    taken.removeAll(keepingCapacity: true)
    guard state.sends, let association else { return }
    for stream in streams.takeResets() { association.reset(stream) }
    while let channel = ready.first {
      guard let item = channel.outgoing.first else {
        ready.removeFirst()
        channel.isReady = false
        continue
      }
      switch association.admits(item.frame.count) {
      case .now: break
      case .later: return
      case .after(let seconds): return pumpAgain(after: seconds)
      }
      guard hand(item, of: channel, to: association) else { return }
      channel.outgoing.removeFirst()
      ready.removeFirst()
      if channel.outgoing.isEmpty { channel.isReady = false } else { ready.append(channel) }
    }
    association.markApplicationLimited()
  }

  private func abort(_ channel: DataChannel, _ last: Frame) {
    let dropped = channel.outgoing.filter { if case .message = $0.content { true } else { false } }
    channel.outgoing.removeAll { if case .message = $0.content { true } else { false } }
    for item in dropped { left(item, of: channel) }
    channel.outgoing.append(.init(content: .message(.binary), frame: last))
    channel.outgoing.append(.init(content: .close, frame: Frame(capacity: 0)))
  }

  /// A queued message was given to SCTP, or dropped.
  private func left(_ item: DataChannel.Outgoing, of channel: DataChannel) {
    outbox.left(item.frame.count)
    channel.handedOver(item.frame.count)
  }

  private func pumpAgain(after seconds: Double) {
    if pacing == nil { pacing = Timer(on: thread) { [weak self] in self?.markDirty() } }
    pacing?.set(after: seconds)
  }

  /// Gives an entry of a channel's queue to SCTP.
  /// - Returns: whether it was taken.
  private func hand(_ item: DataChannel.Outgoing, of channel: DataChannel, to association: Association) -> Bool {
    let bytes = item.frame.bytes
    let isEmpty = bytes.isEmpty
    let kind: UInt32
    switch item.content {
    case .establishment: return association.send(bytes, stream: channel.stream, protocolID: ProtocolID.establishment)
    case .close:
      if streams[channel.stream] === channel, streams.close(channel.stream) != nil {
        channel.delivery.end(.closed)
        markDirty()  // for the reset
      }
      return true
    case .abort: preconditionFailure("it was resolved when it was taken")
    case .message(.binary): kind = isEmpty ? ProtocolID.emptyBinary : ProtocolID.binary
    case .message(.text): kind = isEmpty ? ProtocolID.emptyText : ProtocolID.text
    }
    if streams[channel.stream] === channel {
      // SCTP has no empty messages: RFC 8831 section 6.6 sends one byte instead.
      let sent =
        isEmpty
        ? withUnsafeBytes(of: UInt8(0)) { association.send($0, stream: channel.stream, protocolID: kind) }
        : association.send(bytes, stream: channel.stream, protocolID: kind)
      guard sent else { return false }
    }
    left(item, of: channel)
    return true
  }

  // MARK: Closing, RFC 8831 section 6.7

  func association(reset numbers: [UInt16], incoming: Bool) {
    if incoming {
      for channel in streams.resetByPeer(numbers) { channel.delivery.end(.channelClosedByPeer) }
    } else {
      for stream in numbers { streams.resetConfirmed(stream) }
    }
    markDirty()
  }

  // MARK: Receiving

  func association(received frame: Frame, stream: UInt16, protocolID: UInt32) {
    guard state.ended == nil else { return }
    switch protocolID {
    case ProtocolID.establishment: established(frame, stream)
    case ProtocolID.text: deliver(frame, .text, stream)
    case ProtocolID.binary: deliver(frame, .binary, stream)
    case ProtocolID.emptyText: deliver(Frame(capacity: 0), .text, stream)
    case ProtocolID.emptyBinary: deliver(Frame(capacity: 0), .binary, stream)
    default: break  // not a data channel's; ignored
    }
  }

  private func deliver(_ frame: Frame, _ kind: DataChannel.Kind, _ stream: UInt16) {
    guard let channel = streams[stream] else { return }  // closed by us meanwhile
    if !channel.delivery.deliver(frame, kind) { end(.violation("more messages than are kept for channel \(stream)")) }
  }

  private func established(_ frame: Frame, _ stream: UInt16) {
    let message: DataChannelEstablishment
    do { message = try DataChannelEstablishment(parsing: frame.bytes) } catch {
      return end(.violation(error.description))
    }
    guard case .open(_, let label, let name) = message else { return }
    if let violation = streams.violation(ofOpening: stream, isClient: state.isClient == true) {
      return end(.violation(violation))
    }
    let channel = DataChannel(label: label, protocol: name, stream: stream, outbox: outbox, kept: kept)
    streams.open(channel, on: stream)
    establish(channel, .acknowledge)
    incoming.yield(channel)
  }
}
