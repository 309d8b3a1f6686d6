import ArgumentParser
import P2PFSCore
import Glibc
import P2PFSMeeting
import P2PFSPipes
import P2PFSSession
import Synchronization
import P2PFSWire

/// `p2pfs pipe`.
struct PipeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pipe",
    abstract: "Join standard input and output with another computer's.",
    discussion: """
      What is standard input here is standard output there, both ways at once. Without a code it shows one on standard \
      error, and waits. Exits with 0 only when both ends have got everything: "tar c . | p2pfs pipe" here and \
      "p2pfs pipe CODE | tar x" there.
      """)

  @Argument(
    help: ArgumentHelp(
      "The code, as CODE[@SERVER]. - takes it from P2PFS_CODE, or asks for it. Both sides may be given the same one.",
      valueName: "code"))
  var code: String?

  @Option(name: .customLong("code"), help: ArgumentHelp("Wait with this code instead of a new one.", valueName: "code"))
  var ownCode: String?

  @OptionGroup var options: MeetingOptions
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if code != nil, ownCode != nil { throw ValidationError("Give the code once: as an argument, or with --code.") }
  }

  func run() async throws {
    common.startLogging()
    let given = try (code ?? ownCode).map(GivenCode.init)
    let streams = try StandardStreams.take()
    let joining = Task { () -> (any Error)? in
      do {
        try await join(streams, given)
        return nil
      } catch {
        return error
      }
    }
    Signals.onFirst { _ in joining.cancel() }
    guard let error = await joining.value else { return }
    if Signals.received != 0 {
      Console.say("p2pfs: interrupted; not everything has arrived")
      throw ExitCode(128 + Signals.received)
    }
    guard let error = error as? PipeError else { throw error }
    if case .brokenPipe = error { Signals.dieOfBrokenPipe() }
    let status = if case .channel(.peerGone) = error { ExitStatus.noPeer } else { ExitStatus.failed }
    throw Failure(status, "\(Console.escaped("\(error)")). Not everything has arrived.")
  }

  /// Meets the other side, joins the streams with its, and lets it go.
  private func join(_ streams: StandardStreams, _ given: GivenCode?) async throws {
    // A signaling server of our own, which nobody can have come to before, if none was named.
    let isAlone =
      try code == nil && Settings.server(flag: options.signal, code: given?.server) == nil
    let meeting = try await CommandMeeting(
      counterpart: "p2pfs pipe", code: given, as: isAlone ? .host : .either, options: options, common: common)
    let door = PipeChannel()
    let peer = try await meeting.meet { channel in door.take(channel) }
    var failure: (any Error)?
    do {
      let channel =
        peer.isHost
        ? try await door.channel(of: peer.session, within: options.timeout)
        : try peer.session.openChannel(PipeChannel.name)
      try await Pipe(input: streams.input, output: streams.output, channel: channel).run()
    } catch let error as SessionChannelError {
      failure = PipeError.channel(error)
    } catch {
      failure = error
    }
    // It leaves when it has heard why. In a task of its own: this one may have been cancelled.
    if failure != nil { await Task { await peer.session.whenOver(within: Limits.Pipes.farewell) }.value }
    await peer.end()
    await meeting.end()
    if let failure { throw failure }
  }
}

/// Where the channel that the other side opens comes in.
private final class PipeChannel: Sendable {
  static let name = "pipe"

  private let channels: AsyncStream<SessionChannel>
  private let feed: AsyncStream<SessionChannel>.Continuation
  private let isTaken = Atomic<Bool>(false)

  init() { (channels, feed) = AsyncStream.makeStream(of: SessionChannel.self, bufferingPolicy: .bufferingOldest(1)) }

  /// Takes the first channel of the right name, and refuses all others.
  func take(_ channel: SessionChannel) {
    guard channel.name == Self.name, !channel.keepsMessages, !isTaken.exchange(true, ordering: .relaxed) else {
      return channel.reset(.refused, "it runs \"p2pfs pipe\" and accepts no other channel")
    }
    channel.accept()
    feed.yield(channel)
  }

  /// Waits for the channel that the other side opens, in which time its connection may break and be made again.
  func channel(of session: Session, within timeout: Double) async throws -> SessionChannel {
    let deadline = Task { [feed] in
      await session.whenOver(within: max(Limits.Pipes.opening, timeout))
      feed.finish()
    }
    defer { deadline.cancel() }
    if let channel = await channels.first(where: { _ in true }) { return channel }
    if session.status == .over || session.status == .expired || Task.isCancelled { throw SessionChannelError.peerGone }
    throw Failure(.failed, "the other computer does not run \"p2pfs pipe\"")
  }
}

extension Session {
  /// Waits until it is over, or the peer has been away for too long; for at most `seconds`.
  func whenOver(within seconds: Double) async {
    let states = states()
    await withTaskGroup(of: Void.self) { group in
      group.addTask {
        for await state in states where state == .over || state == .expired { return }
      }
      group.addTask { try? await Task.sleep(for: .seconds(seconds)) }
      await group.next()
      group.cancelAll()
    }
  }
}
