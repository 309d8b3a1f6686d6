/// One side of SPAKE2 (RFC 9382) with P-256, SHA-256, HKDF and HMAC.
///
///     A                                     B
///     pA = x·G + w·M   ──────── pA ──────▶
///                      ◀─────── pB ───────  pB = y·G + w·N
///     K = x·(pB − w·N)                      K = y·(pA − w·M)
///     TT = len A ‖ A ‖ len B ‖ B ‖ len pA ‖ pA ‖ len pB ‖ pB ‖ len K ‖ K ‖ len w ‖ w
///     Ke ‖ Ka = SHA-256(TT);   KcA ‖ KcB = HKDF(Ka, "ConfirmationKeys" ‖ AAD)
///     cA = HMAC(KcA, TT)  ───── cA ──────▶
///                      ◀─────── cB ───────  cB = HMAC(KcB, TT)
struct SPAKE2: Sendable {
  /// Which side this is.
  enum Side: Sendable {
    /// Sends the first message.
    case a
    /// Answers.
    case b
  }

  /// The result of the exchange of shares, known to both sides.
  struct Outcome: Sendable {
    /// Ke: 128 bits for further keys.
    let key: Secret
    /// A's proof that it knows w.
    let confirmationA: Secret
    /// B's proof.
    let confirmationB: Secret
    /// SHA-256 of TT: identifies this exchange. Secret as well, for it contains Ke.
    let transcriptHash: Secret
  }

  /// This side's share, to be sent.
  let share: [UInt8]
  private let side: Side
  private let w: Secret
  private let scalar: Secret
  private let identityA: [UInt8]
  private let identityB: [UInt8]
  private let associated: [UInt8]

  /// Starts an exchange with a fresh `scalar`, which only the RFC's test vectors may set.
  init(
    _ side: Side, w: Secret, identityA: [UInt8], identityB: [UInt8], associated: [UInt8],
    scalar: Secret = Curve.randomScalar()
  ) {
    self.side = side
    self.w = w
    self.scalar = scalar
    self.identityA = identityA
    self.identityB = identityB
    self.associated = associated
    share = Curve.share(scalar, masked: w, by: side == .a ? Curve.m : Curve.n)
  }

  /// The result for the other side's share, or nil if that is not a point of the curve, or yields the identity.
  func finish(_ theirs: [UInt8]) -> Outcome? {
    guard let k = Curve.shared(scalar, share: theirs, masked: w, by: side == .a ? Curve.n : Curve.m) else { return nil }
    var transcript: [UInt8] = []
    // Enough capacity, so that no copy with K and w is left behind by a growing array.
    transcript.reserveCapacity(6 * 8 + identityA.count + identityB.count + 3 * Curve.pointLength + Curve.scalarLength)
    defer { KeyDerivation.wipe(&transcript) }
    func append(_ part: some Collection<UInt8>) {
      withUnsafeBytes(of: UInt64(part.count).littleEndian) { transcript.append(contentsOf: $0) }
      transcript.append(contentsOf: part)
    }
    append(identityA)
    append(identityB)
    append(side == .a ? share : theirs)
    append(side == .a ? theirs : share)
    k.withBytes { append($0) }
    w.withBytes { append($0) }

    let hash = KeyDerivation.sha256(transcript)
    let confirmationKeys = hash.withBytes {
      KeyDerivation.hkdf(
        UnsafeRawBufferPointer(rebasing: $0[16...]), salt: [], info: Array("ConfirmationKeys".utf8) + associated,
        count: 32)
    }
    let macs = confirmationKeys.withBytes { keys in
      transcript.withUnsafeBytes { transcript in
        [keys[..<16], keys[16...]].map { KeyDerivation.hmac(key: UnsafeRawBufferPointer(rebasing: $0), transcript) }
      }
    }
    return Outcome(
      key: hash.withBytes { Secret(copying: $0[..<16]) }, confirmationA: macs[0], confirmationB: macs[1],
      transcriptHash: hash)
  }
}
