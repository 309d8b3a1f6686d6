import ArgumentParser
import P2PFSCore
import Glibc
import P2PFSMeeting
import P2PFSSession
import P2PFSTransfer
import P2PFSWire

/// `p2pfs send`.
struct SendCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "send",
    abstract: "Send files and directories to another computer.",
    discussion: """
      Prints the command that receives them on the other computer, or comes with --to to a "p2pfs receive" that waits. \
      Run again after an interruption, it sends only what is missing.
      """)

  @Argument(help: ArgumentHelp("The files and directories to send.", valueName: "path"), completion: .file())
  var paths: [String]

  @Option(help: ArgumentHelp("Meet by this code instead of a new one; either side may start first.", valueName: "code"))
  var code: String?

  @Option(help: ArgumentHelp("Come to the receiver that shows this code.", valueName: "code"))
  var to: String?

  @OptionGroup var options: MeetingOptions
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if code != nil, to != nil { throw ValidationError("--code and --to: give one of them.") }
  }

  func run() async throws {
    common.startLogging()
    let source: TransferSource
    do throws(TransferFailure) { source = try TransferSource(paths) } catch {
      guard case .local(let why) = error else { preconditionFailure("no other failure on this side") }
      throw Failure(.failed, "cannot send \(Console.escaped(why))")
    }
    let given = try (code ?? to).map { text throws(Failure) in try GivenCode(text) }
    // Counted while the other side is waited for.
    let count = TransferCount(of: source)
    defer { count.stop() }
    let running = Task { () async -> Result<Bool, Failure> in
      do throws(Failure) { return .success(try await send(source, count, given)) } catch { return .failure(error) }
    }
    Signals.onFirst { _ in running.cancel() }
    guard try await running.value.get() else { throw ExitCode(ExitStatus.failed.rawValue) }
  }

  /// Returns whether everything is there.
  private func send(
    _ source: TransferSource, _ count: TransferCount, _ given: GivenCode?
  ) async throws(Failure) -> Bool {
    // Without a server that both sides know, nobody can have come before.
    let server = try Settings.server(flag: options.signal, code: given?.server)
    let isAlone = code != nil && server == nil
    let meeting = try await CommandMeeting(
      counterpart: "p2pfs receive", code: given, as: isAlone ? .host : .either,
      task: "send\0" + paths.map(absolute).joined(separator: "\0"), options: options, common: common)
    let door = TaskChannel("p2pfs send")
    let peer = try await meeting.meet { door.take($0) }
    do throws(Failure) {
      let isWhole = try await send(source, count, to: peer, door)
      await peer.leave(afterFailure: false)
      await meeting.end(isDone: isWhole)
      return isWhole
    } catch {
      await peer.leave(afterFailure: true)
      await meeting.end()
      throw error
    }
  }

  private func send(
    _ source: TransferSource, _ count: TransferCount, to peer: ConnectedPeer, _ door: TaskChannel
  ) async throws(Failure) -> Bool {
    let channel = try await door.channel(to: peer, within: TaskChannel.patience(options))
    let progress = Progress(isQuiet: common.quiet)
    defer { progress.end() }
    let problems = ProblemReport(progress)
    // Only shown on a terminal.
    let waiting = Task {
      if Console.isTerminal { await progress.whileCounting("Counting what is to be sent …", common) }
    }
    let asking = Task {
      if Console.isTerminal { await progress.whileAsking("Waiting for the other computer's user to agree …", common) }
    }
    defer {
      waiting.cancel()
      asking.cancel()
    }
    do throws(TransferFailure) {
      let sender = TransferSender(
        source, count, over: channel, claim: SenderIdentity.own, progress: progress.transfer,
        patience: TaskChannel.patience(options)
      ) { problems.add($0) }
      let run = Task { () async -> Result<TransferSender.Summary, TransferFailure> in
        do throws(TransferFailure) { return .success(try await sender.run()) } catch { return .failure(error) }
      }
      let outcome = await withTaskCancellationHandler {
        await run.value
      } onCancel: {
        channel.reset(.cancelled, "interrupted")
      }
      let summary = try outcome.get()
      progress.end()
      let isWhole = summary.problems == 0 && summary.result.problems == 0
      common.say(
        progress.summary(files: summary.result.files, bytes: summary.result.bytes)
          + (isWhole ? ", all checked." : ", checked. Not all is there: see above."))
      if common.verbose { Console.say("Sent \(progress.transfer.moved) bytes of contents.") }
      return isWhole
    } catch {
      if common.verbose { progress.say("Sent \(progress.transfer.moved) bytes of contents.") }
      progress.end()
      throw Failure(error, command: "p2pfs send", peer: peer, hasBegun: progress.transfer.total != nil)
    }
  }
}

/// A path that names the same file from every directory; as it was given if there is none.
func absolute(_ path: String) -> String {
  guard let resolved = path.withPath({ realpath($0, nil) }) else { return path }
  defer { free(resolved) }
  return String(path: resolved)
}

/// Who sends or receives, as the other side is told.
enum SenderIdentity {
  /// user@host of this process.
  static var own: [UInt8] {
    var name = [CChar](repeating: 0, count: 256)
    gethostname(&name, name.count - 1)
    let host = name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    let user = getpwuid(geteuid()).map { String(cString: $0.pointee.pw_name) } ?? "\(geteuid())"
    return Array(user.utf8) + [UInt8(ascii: "@")] + host
  }
}
