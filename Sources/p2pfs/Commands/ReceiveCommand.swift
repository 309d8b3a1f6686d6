import ArgumentParser
import P2PFSCore
import P2PFSMeeting
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSTransfer
import P2PFSWire

/// `p2pfs receive`.
struct ReceiveCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "receive",
    abstract: "Receive files and directories from another computer.",
    discussion: """
      With the code that "p2pfs send" shows it comes there; without one it shows a code of its own, for \
      "p2pfs send --to". You see what is offered, and agree first. Nothing that is there is overwritten unasked.
      """)

  @Argument(help: ArgumentHelp("The code that the sender shows; - for P2PFS_CODE or to be asked.", valueName: "code"))
  var code: String?

  @Option(
    help: ArgumentHelp("Receive into this directory instead of the current one.", valueName: "dir"),
    completion: .directory)
  var into = "."

  @Flag(name: .shortAndLong, help: "Agree beforehand to whatever is offered.")
  var yes = false

  @Flag(help: "Replace files that are there and differ.")
  var overwrite = false

  @OptionGroup var options: MeetingOptions
  @OptionGroup var common: CommonOptions

  func run() async throws {
    common.startLogging()
    let target: TransferTarget
    do throws(Errno) { target = try TransferTarget(into, overwrites: overwrite) } catch {
      throw Failure(.failed, "cannot receive into \(Console.escaped(into)): \(error)")
    }
    let given = try code.map { text throws(Failure) in try GivenCode(text) }
    let running = Task { () async -> Result<Bool, Failure> in
      do throws(Failure) { return .success(try await receive(target, given)) } catch { return .failure(error) }
    }
    Signals.onFirst { _ in running.cancel() }
    guard try await running.value.get() else { throw ExitCode(ExitStatus.failed.rawValue) }
  }

  /// Returns whether everything is there.
  private func receive(_ target: TransferTarget, _ given: GivenCode?) async throws(Failure) -> Bool {
    let meeting = try await CommandMeeting(
      counterpart: "p2pfs send --to", behind: "PATH", code: given, as: .either, task: "receive\0" + absolute(into),
      options: options, common: common)
    let door = TaskChannel("p2pfs receive")
    let peer = try await meeting.meet { door.take($0) }
    do throws(Failure) {
      let isWhole = try await receive(target, from: peer, door)
      await peer.leave(afterFailure: false)
      await meeting.end(isDone: isWhole)
      return isWhole
    } catch {
      await peer.leave(afterFailure: true)
      await meeting.end()
      throw error
    }
  }

  private func receive(
    _ target: TransferTarget, from peer: ConnectedPeer, _ door: TaskChannel
  ) async throws(Failure) -> Bool {
    let channel = try await door.channel(to: peer, within: TaskChannel.patience(options))
    let progress = Progress(isQuiet: common.quiet)
    defer { progress.end() }
    let problems = ProblemReport(progress)
    let waiting = Task { await progress.whileCounting("The other computer is still counting what it sends …", common) }
    defer { waiting.cancel() }
    let question = Question(into: into, agrees: yes, isQuiet: common.quiet, channel: channel)
    do throws(TransferFailure) {
      let receiver = TransferReceiver(
        into: target, over: channel, claim: SenderIdentity.own, progress: progress.transfer,
        patience: TaskChannel.patience(options),
        decide: { question.decide($0, $1) }, report: { problems.add($0) })
      let run = Task { () async -> Result<TransferResult, TransferFailure> in
        do throws(TransferFailure) { return .success(try await receiver.run()) } catch { return .failure(error) }
      }
      let outcome = await withTaskCancellationHandler {
        await run.value
      } onCancel: {
        channel.reset(.cancelled, "interrupted")
      }
      let result = try outcome.get()
      progress.end()
      common.say(
        progress.summary(files: result.files, bytes: result.bytes)
          + (result.problems == 0 ? ", all checked." : ", checked. Not all is there: see above."))
      if common.verbose { Console.say("Received \(progress.transfer.moved) bytes of contents.") }
      return result.problems == 0
    } catch {
      progress.end()
      if let failure = question.failure, Signals.received == 0 { throw failure }
      throw Failure(error, command: "p2pfs receive", peer: peer, hasBegun: progress.transfer.total != nil)
    }
  }
}

/// Shows an offer, and asks for agreement unless that was given beforehand.
private final class Question: Sendable {
  private let directory: String
  private let agrees: Bool
  private let isQuiet: Bool
  private let channel: SessionChannel
  private let declined = Mutex<Failure?>(nil)

  init(into directory: String, agrees: Bool, isQuiet: Bool, channel: SessionChannel) {
    self.directory = directory
    self.agrees = agrees
    self.isQuiet = isQuiet
    self.channel = channel
  }

  /// How the command ends, if it was not agreed.
  var failure: Failure? { declined.withLock { $0 } }

  func decide(_ offer: TransferMessage.Offer, _ claim: [UInt8]) -> TransferReceiver.Decision {
    let text = Question.describe(offer, claim)
    if agrees {
      if !isQuiet { Console.say(text) }
      return .accept
    }
    do throws(Failure) {
      let question = "\(text)\nReceive into \(Console.escaped(directory))? [y/N] "
      let answer = try Console.ask(question, isSecret: false, while: { channel.failure == nil })
      guard let answer else {
        return decline(
          "nobody can agree there: it needs --yes",
          Failure(.usage, "no terminal to ask at. To agree beforehand, add --yes."))
      }
      let isYes = ["y", "yes"].contains(answer.trimmed.lowercased())
      return isYes ? .accept : decline("not wanted", Failure(.failed, "declined; nothing was received"))
    } catch {
      return decline("interrupted", error)
    }
  }

  private func decline(_ word: String, _ failure: Failure) -> TransferReceiver.Decision {
    // One that is gone is not answered any more: that is what failed.
    if channel.failure == nil { declined.withLock { $0 = failure } }
    return .decline(word)
  }

  /// Who sends what, safe for a terminal.
  static func describe(_ offer: TransferMessage.Offer, _ claim: [UInt8]) -> String {
    var what = "\(offer.files) \(offer.files == 1 ? "file" : "files")"
    if offer.directories > 0 {
      what += " in \(offer.directories) \(offer.directories == 1 ? "directory" : "directories")"
    }
    if offer.links > 0 { what += ", \(offer.links) symbolic \(offer.links == 1 ? "link" : "links")" }
    let names = offer.names.map { Progress.quoted($0) }
    let more = offer.tops > UInt64(names.count) ? ", and \(offer.tops - UInt64(names.count)) more" : ""
    return """
      \(Progress.name(claim)) (by its own word) sends \(what), \(Progress.bytes(offer.bytes)):
          \(names.joined(separator: ", "))\(more)
      """
  }
}

extension String {
  fileprivate var trimmed: String {
    String(drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed())
  }
}
