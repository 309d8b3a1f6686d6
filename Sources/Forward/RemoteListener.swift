import P2PFSCore
import P2PFSSession
import P2PFSWire

/// One forward of `-R`: has the peer listen, and asks it again whenever it has stopped.
struct RemoteListener: Sendable {
  let number: UInt8
  let spec: ForwardSpec
  let session: Session

  /// Asks the peer to listen.
  /// - Returns: the channel, with whose end the listener stops, and its address, with the actual port if any was
  ///   requested.
  func ask() async throws(ForwardError) -> (SessionChannel, Endpoint) {
    let channel: SessionChannel
    do { channel = try session.openChannel(ForwardName.listen(number, spec.listen).text) } catch { throw .peer(error) }
    do throws(ForwardError) {
      return try await channel.inTime { channel throws(SessionChannelError) in
        try await channel.opened()
        return (channel, try await endpoint(AsyncChannel(channel)))
      }
    } catch {
      channel.reset(.cancelled)
      switch error {
      case .peer(.reset(.refused, _)): throw .listenRefused(spec.listen)
      case .peer(.reset(.failed, let why)): throw .cannotListenThere(spec.listen, why)
      default: throw error
      }
    }
  }

  /// Receives the address at which the peer listens.
  private func endpoint(_ channel: AsyncChannel) async throws(SessionChannelError) -> Endpoint {
    guard let piece = try await channel.next(after: nil), piece.count == 2 else {
      throw .reset(.failed, "an answer that makes no sense")
    }
    channel.channel.consumed(piece)
    var reader = Reader(piece.frame, from: piece.range.lowerBound)
    let port = (try? reader.integer(UInt16.self)) ?? 0
    guard case .tcp(let host, 0) = spec.listen, port != 0 else { return spec.listen }
    return .tcp(host: host, port: port)
  }

  /// Keeps the peer listening until the session is over or the task is cancelled.
  func keep(_ first: SessionChannel, report: @escaping @Sendable (ForwardGuest.Event) -> Void) async {
    var channel = first
    var wait = Limits.Forward.listenPause
    while true {
      let begun = ContinuousClock.now
      // No more data is expected; only the end of this channel matters. It comes with that of the session at the
      // latest.
      await withCheckedContinuation { continuation in channel.whenOver { continuation.resume() } }
      guard !Task.isCancelled, session.status != .over else { return }
      report(.lostThere(spec, channel.failure?.description ?? "it has stopped"))
      if begun.duration(to: .now) >= .seconds(Limits.Forward.lasting) {
        wait = Limits.Forward.listenPause
      } else {
        // A peer that accepts and stops again is asked ever more rarely.
        await pause(&wait)
      }
      guard let next = await askAgain(&wait, report) else { return }
      channel = next
    }
  }

  /// Asks until the peer listens.
  /// - Returns: nil if the session is over or the task is cancelled.
  private func askAgain(
    _ wait: inout Double, _ report: @Sendable (ForwardGuest.Event) -> Void
  ) async -> SessionChannel? {
    var isTold = false
    while true {
      // An expired session cannot send requests.
      if !session.isOnline { for await state in session.states() where state == .online { break } }
      guard !Task.isCancelled, session.status != .over else { return nil }
      do throws(ForwardError) {
        let (channel, endpoint) = try await ask()
        report(.listensThere(spec, endpoint))
        return channel
      } catch {
        // That the peer is away is reported elsewhere.
        if !isTold, session.isOnline, !Task.isCancelled {
          isTold = true
          report(.refusedThere(spec, error))
        }
        await pause(&wait)
      }
    }
  }

  private func pause(_ wait: inout Double) async {
    try? await Task.sleep(for: .seconds(wait))
    wait = min(wait * 2, Limits.Session.longestBackoff)
  }
}

extension SessionChannel {
  /// Runs `body`, which waits for an answer of the peer, for at most this many seconds; after that, or if the task is
  /// cancelled, the channel is reset.
  func inTime<Value>(
    seconds: Double = Limits.Forward.answer, _ body: (SessionChannel) async throws(SessionChannelError) -> Value
  ) async throws(ForwardError) -> Value {
    let limit = Task {
      try await Task.sleep(for: .seconds(seconds))
      reset(.cancelled, "no answer in time")
    }
    let result = await withTaskCancellationHandler {
      do throws(SessionChannelError) { return Result<Value, SessionChannelError>.success(try await body(self)) } catch {
        return .failure(error)
      }
    } onCancel: {
      reset(.cancelled)
    }
    limit.cancel()
    switch result {
    case .success(let value): return value
    case .failure(let error):
      // The error does not tell which side ended the channel.
      if case .success = await limit.result { throw .noAnswer }
      throw .peer(error)
    }
  }
}
