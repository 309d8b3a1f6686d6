import P2PFSMeeting
import P2PFSCore
import P2PFSExport
import P2PFSPairing
import P2PFSSession
import Synchronization
import P2PFSTransport
import P2PFSWire

/// The other computer: somebody who waits under a code, once connected, or a guest of a `Host`.
///
/// ```swift
/// let peer = try await Peer.connect(to: "482153-lusab-babad@meet.example.org")
/// let channel = try await peer.open("greetings")
/// try await channel.send("Hello!".utf8)
/// await peer.close()
/// ```
/// A connection that breaks is made again by itself, without the code; channels and reads go on where they were. When the
/// other computer stays away for longer than the timeout it is over: the peer is `.closed`, and what waits for it fails
/// with `.gone`.
///
/// All of it may be used from any task. A peer that nobody holds any more, nor any of its channels and sequences, is
/// closed at once, without waiting for what is under way; a host holds its guests, and a finished channel holds its peer
/// until it has delivered.
public final class Peer: Sendable {
  /// How it stands with the other computer.
  public enum State: Sendable, Hashable {
    /// Connected.
    case online
    /// The connection is lost and being made again, for no longer than the timeout.
    case offline
    /// It is over: closed on this side, or the other computer has left, or was away for longer than the timeout.
    case closed
  }

  let session: Session
  private let inbox: Inbox
  private let standing: ObservedValue<State>
  private let path: ConnectionPath?
  /// Ends the relation, after what was to be said.
  private let end: @Sendable () async -> Void
  private let isClosed = Atomic<Bool>(false)
  private let channelsInUse = Mutex<[Weak]>([])

  private struct Weak { weak var channel: Channel? }

  init(_ session: Session, _ path: ConnectionPath?, _ inbox: Inbox, end: @escaping @Sendable () async -> Void) {
    self.session = session
    self.path = path
    self.inbox = inbox
    self.end = end
    standing = ObservedValue(State(session.status))
    // Weakly: the session holds its observers.
    let look = { @Sendable [weak session, inbox, standing] in
      guard let session else { return }
      if session.status == .expired { session.end() }
      standing.change(to: State(session.status))
      guard session.status == .over else { return }
      inbox.finish()
      standing.finish()
      // What belongs to it is over, too: the way back to the other computer, and what was shared with it.
      Task { await end() }
    }
    session.observe { _ in look() }
    look()
  }

  deinit { session.end() }

  // MARK: - Meeting

  /// Connects to the computer that waits under `code`: a `Host` of this library, or `p2pfs export`.
  ///
  /// Ends in bounded time, about a minute at most, but for the wait that `Options.waits` asks for.
  /// - Parameter code: as the other side shows it: `CODE@SERVER`, or `CODE` with `Options.server`.
  /// - Throws: `.invalidCode`, `.invalidArgument`; `.signaling`, `.nobodyThere`, `.wrongCode`, `.untrusted`, `.refused`,
  ///   `.noPath` and `.gone` when the two do not meet; `.file` when the directory to share cannot be opened;
  ///   `.cancelled` if the task was.
  public static func connect(to code: String, options: Options = Options()) async throws(PeerError) -> Peer {
    let (code, named) = try parse(code)
    guard let server = try options.serverAddress() ?? named else {
      throw PeerError(.invalidCode, "the code names no signaling server, as in CODE@SERVER, and none was given")
    }
    let share = try options.share?.open()
    let inbox = Inbox()
    var rendezvous = Rendezvous(code, as: .guest, at: server)
    rendezvous.timeout = options.timeoutSeconds
    rendezvous.waits = options.waits
    rendezvous.ice.includesLoopback = LocalAddress.isLoopback(server.host)
    rendezvous.responder = share?.session()
    rendezvous.onChannel = { inbox.offer($0) }
    do throws(MeetingError) {
      let met = try await rendezvous.meet { _ in }
      return Peer(met.session, met.path, inbox) {
        await met.end()
        share?.stop()
      }
    } catch {
      share?.stop()
      throw Task.isCancelled ? .cancelled : PeerError(error, at: server)
    }
  }

  /// The parts of `CODE[@SERVER]`.
  static func parse(_ text: String) throws(PeerError) -> (Code, ServerAddress?) {
    let source: PeerAddress
    do { source = try PeerAddress(parsing: text) } catch { throw PeerError(error) }
    guard case .code(let code) = source.peer, source.path.isEmpty else {
      throw PeerError(.invalidCode, "not a code, as in 482153-lusab-babad@server")
    }
    return (code, source.server)
  }

  // MARK: - Channels

  /// Opens a channel to the other program; returns when that has accepted it.
  ///
  /// Each side may have 120 open channels of its own at a time.
  /// - Parameters:
  ///   - name: what it is for, as the other program expects it: at most `Channel.longestName` bytes of UTF-8.
  ///   - kind: what is to travel on it.
  /// - Throws: `.refused` if the other program does not take it, also when it has not looked at it for ten seconds;
  ///   `.invalidArgument`, `.unavailable`, `.gone`, `.closed`; `.cancelled` if the task was.
  public func open(_ name: String, as kind: Channel.Kind = .messages) async throws(PeerError) -> Channel {
    guard name.utf8.count <= Channel.longestName else {
      throw PeerError(.invalidArgument, "a channel's name has at most \(Channel.longestName) bytes")
    }
    let channel: SessionChannel
    do {
      channel = try session.openChannel(name, keepsMessages: kind == .messages)
    } catch {
      throw failure(error)
    }
    do throws(SessionChannelError) {
      try await channel.resetIfCancelled { () async throws(SessionChannelError) in try await channel.opened() }
    } catch {
      throw failure(error)
    }
    return note(Channel(channel, of: self))
  }

  /// The channels that the other computer opens, each to be accepted or refused. What nobody takes within ten seconds is
  /// refused. Ends when the peer is closed.
  /// ```swift
  /// for await incoming in peer.channels {
  ///   guard incoming.name == "log" else {
  ///     incoming.refuse("only logs here")
  ///     continue
  ///   }
  ///   let channel = try incoming.accept()
  ///   Task {
  ///     for try await line in channel { print(String(decoding: line, as: UTF8.self)) }
  ///   }
  /// }
  /// ```
  /// All iterators share it: each channel goes to one of them. Those that `onChannel` has asked for are not among them.
  public var channels: Feed<IncomingChannel> { Feed { self.nextIncoming } }

  private func nextIncoming() async -> IncomingChannel? {
    await inbox.next().map { IncomingChannel($0, of: self) }
  }

  /// Accepts every channel of this name that the other computer opens, now and later, and calls `body` with it in a task
  /// of its own. When `body` returns the channel is finished, when it throws it is given up.
  /// ```swift
  /// peer.onChannel("echo") { channel in
  ///   for try await message in channel {
  ///     try await channel.send(message)
  ///   }
  /// }
  /// ```
  /// A second call for the same name takes the place of the first. `body` is let go of when the peer is closed.
  public func onChannel(_ name: String, _ body: @escaping @Sendable (Channel) async throws -> Void) {
    inbox.register(name) { [weak self] accepted in
      guard let self else { return accepted.reset(.refused, "it is leaving") }
      accepted.accept()
      let channel = note(Channel(accepted, of: self))
      Task {
        do {
          try await body(channel)
          channel.finish()
        } catch {
          channel.fail()
        }
      }
    }
  }

  /// Remembers a channel for `close`.
  @discardableResult
  func note(_ channel: Channel) -> Channel {
    channelsInUse.withLock { channels in
      channels.removeAll { $0.channel == nil }
      channels.append(Weak(channel: channel))
    }
    return channel
  }

  // MARK: - Files

  /// The directory that the other computer shares, if it does.
  public var files: PeerFiles { PeerFiles(session, of: self) }

  /// Whether it shares one. It can be told since the two have met.
  public var sharesFiles: Bool { session.peerExports }

  // MARK: - How it stands

  /// How it stands now.
  public var state: State { State(session.status) }

  /// How it stands now, and each change from here on; ends with `.closed`. Each iterator hears of all, but one that is late
  /// misses the oldest.
  public var states: Feed<State> { Feed(standing, of: self) }

  /// Calls `body` with how it stands now and with each change, one after the other, `.closed` last. For those who prefer
  /// callbacks to `states`. It does not keep the peer.
  /// - Returns: the task that calls; cancel it to hear no more.
  @discardableResult
  public func onState(_ body: @escaping @Sendable (State) async -> Void) -> Task<Void, Never> {
    Task { [changes = standing.follow()] in
      while let state = await changes.next() { await body(state) }
    }
  }

  /// The time that a word takes to the other computer and back, smoothed; nil as long as it is not known.
  public var roundTripTime: Duration? {
    let seconds = session.roundTrip
    return seconds > 0 ? .seconds(seconds) : nil
  }

  /// Whether the two were connected through a relay (TURN) when they met, rather than directly; nil if that is not known.
  public var isRelayed: Bool? { path.map { !$0.isDirect } }

  // MARK: - The end

  /// Closes it gracefully: finishes all channels, waits until the other program has received what was sent on them, and
  /// tells the other computer.
  /// - Parameter grace: how long it waits at most for the other program, which may be slow, stuck or away. Not at all if
  ///   the task is cancelled.
  public func close(within grace: Duration = .seconds(10)) async {
    isClosed.store(true, ordering: .relaxed)
    inbox.finish()
    for channel in channelsInUse.withLock({ $0.compactMap(\.channel) }) { channel.finish() }
    if !Task.isCancelled {
      await Peer.wait(for: session.openChannels, within: grace) { $0.whenTaken($1) }
      // The other program is likely to finish now, and should not find its end cut off.
      let farewell = Swift.min(grace, .seconds(Limits.Library.farewell))
      await Peer.wait(for: session.openChannels, within: farewell) { $0.whenOver($1) }
    }
    // The other computer is told, also if this task is cancelled.
    await Task { [end] in await end() }.value
  }

  /// Waits until all channels have come to a point, or the time is over.
  static func wait(
    for channels: [SessionChannel], within time: Duration,
    _ when: (SessionChannel, @escaping @Sendable () -> Void) -> Void
  ) async {
    guard !channels.isEmpty, time > .zero else { return }
    let (reached, feed) = AsyncStream.makeStream(of: Void.self)
    for channel in channels { when(channel) { feed.yield() } }
    let limit = Task {
      try? await Task.sleep(for: time)
      feed.finish()
    }
    var left = channels.count
    for await _ in reached {
      left -= 1
      if left == 0 { break }
    }
    limit.cancel()
  }

  /// Whether it was closed on this side.
  var isClosedHere: Bool { isClosed.load(ordering: .relaxed) }

  /// What a channel's failure is to the program.
  func failure(_ error: SessionChannelError) -> PeerError { PeerError(error, isClosedHere: isClosedHere) }
}

extension Peer.State {
  init(_ state: SessionState) {
    switch state {
    case .online: self = .online
    case .offline, .expired: self = .offline
    case .over: self = .closed
    }
  }
}
