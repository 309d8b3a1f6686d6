import Core
import Session
import Wire

/// One forward of `-R`: has the peer listen, and again whenever it has stopped.
struct RemoteListener: Sendable {
  let number: UInt8
  let spec: ForwardSpec
  let session: Session

  /// Asks the peer to listen.
  /// - Returns: the channel with whose end it stops, and where it listens: with the port that it has found, if any would
  ///   do.
  func ask() async throws(ForwardError) -> (PeerChannel, Endpoint) {
    let channel: PeerChannel
    do { channel = try session.openChannel(ForwardName.listen(number, spec.listen).text) } catch { throw .peer(error) }
    do throws(PeerChannelError) {
      try await channel.openedInTime()
      return (channel, try await endpoint(AsyncChannel(channel)))
    } catch {
      channel.reset(.cancelled)
      switch error {
      case .reset(.refused, _): throw .listenRefused(spec.listen)
      case .reset(.failed, let why): throw .cannotListenThere(spec.listen, why)
      default: throw .peer(error)
      }
    }
  }

  /// Hears where the peer listens.
  private func endpoint(_ channel: AsyncChannel) async throws(PeerChannelError) -> Endpoint {
    let limit = Task {
      try await Task.sleep(for: .seconds(Limits.Forward.answer))
      channel.channel.reset(.failed, "no answer")
    }
    defer { limit.cancel() }
    guard let piece = try await channel.next(after: nil), piece.count == 2 else {
      throw .reset(.failed, "an answer that makes no sense")
    }
    channel.channel.consumed(piece)
    var reader = Reader(piece.frame, from: piece.range.lowerBound)
    let port = (try? reader.integer(UInt16.self)) ?? 0
    guard case .tcp(let host, 0) = spec.listen, port != 0 else { return spec.listen }
    return .tcp(host: host, port: port)
  }

  /// Sees to it that the peer listens, until the session is over or the task is cancelled.
  func keep(_ first: PeerChannel, report: @escaping @Sendable (ForwardGuest.Event) -> Void) async {
    var channel: PeerChannel? = first
    var wait = 0.5
    while !Task.isCancelled {
      if let current = channel {
        // It has nothing more to say: its end is the news. It comes with the session's at the latest.
        await withCheckedContinuation { continuation in current.whenOver { continuation.resume() } }
        channel = nil
        guard !Task.isCancelled, session.status != .over else { return }
        report(.lostThere(spec, current.failure?.description ?? "it has stopped"))
      }
      // While the peer is away for long, nothing can be asked.
      for await state in session.states() where state == .online { break }
      guard !Task.isCancelled, session.status != .over else { return }
      do {
        let (new, endpoint) = try await ask()
        channel = new
        wait = 0.5
        report(.listensThere(spec, endpoint))
      } catch {
        try? await Task.sleep(for: .seconds(wait))
        wait = min(wait * 2, Limits.Session.longestBackoff)
      }
    }
  }
}

extension Channel {
  /// Waits until the peer has accepted a channel of ours, for `Limits.Forward.answer` seconds at most. A task that is
  /// cancelled gives up the channel.
  func openedInTime() async throws(ChannelError) {
    let limit = Task {
      try await Task.sleep(for: .seconds(Limits.Forward.answer))
      reset(.failed, "no answer")
    }
    defer { limit.cancel() }
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in whenOpened { continuation.resume() } }
    } onCancel: {
      reset(.cancelled)
    }
    if let failure { throw failure }
  }
}
