/// The result of a successful handshake: keys that only the two sides know.
package struct PairedSession: Sendable {
  /// Seals the messages of this side.
  package var sender: SealedSender
  /// Opens the messages of the other side.
  package var receiver: SealedReceiver
  /// The secret for meeting again. After a handshake by a resumption secret it is that same secret.
  package let resumption: ResumptionSecret
  /// 32 bytes that identify this handshake, equal on both sides and known to nobody else: to bind another channel to
  /// it.
  package let binding: Secret
}

/// The keys derived from Ke, by HKDF-SHA256 with different labels:
///
///     HKDF(Ke, salt "p2pfs session 1" ‖ 0 ‖ room, info)
///       "guest to host", "host to guest"   AES-256-GCM
///       "resumption"                       ResumptionSecret, after a code
///       "binding"                          PairedSession.binding
struct KeySchedule: Sendable {
  let guestToHost: Secret
  let hostToGuest: Secret
  let resumption: ResumptionSecret
  let binding: Secret
  private let room: String

  init(_ outcome: SPAKE2.Outcome, _ credential: Credential) {
    let salt = Array("p2pfs session 1\0\(credential.room)".utf8)
    let derive = { (label: String) in
      outcome.key.withBytes { KeyDerivation.hkdf($0, salt: salt, info: Array(label.utf8), count: 32) }
    }
    guestToHost = derive("guest to host")
    hostToGuest = derive("host to guest")
    resumption = credential.resumption ?? ResumptionSecret(derive("resumption"))
    binding = derive("binding")
    room = credential.room
  }

  /// The session of `side`, whose messages are numbered from 0.
  func session(of side: SealDirection.Side) -> PairedSession {
    let up = SealDirection.guestToHost
    let down = SealDirection.hostToGuest
    return PairedSession(
      sender: side == .guest
        ? SealedSender(key: guestToHost, direction: up, room: room)
        : SealedSender(key: hostToGuest, direction: down, room: room),
      receiver: side == .guest
        ? SealedReceiver(key: hostToGuest, direction: down, room: room)
        : SealedReceiver(key: guestToHost, direction: up, room: room),
      resumption: resumption, binding: binding)
  }
}
