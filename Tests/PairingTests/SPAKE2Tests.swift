import P2PFSCore
import Testing

@testable import P2PFSPairing

/// One of the vectors of RFC 9382, appendix B.
struct Vector: Sendable, CustomTestStringConvertible {
  let a: String, b: String, w: String, x: String, y: String, pA: String, pB: String, key: String
  let confirmationA: String, confirmationB: String
  var testDescription: String { "A='\(a)', B='\(b)'" }

  static let all = [
    Vector(
      a: "server", b: "client", w: "2ee57912099d31560b3a44b1184b9b4866e904c49d12ac5042c97dca461b1a5f",
      x: "43dd0fd7215bdcb482879fca3220c6a968e66d70b1356cac18bb26c84a78d729",
      y: "dcb60106f276b02606d8ef0a328c02e4b629f84f89786af5befb0bc75b6e66be",
      pA: "04a56fa807caaa53a4d28dbb9853b9815c61a411118a6fe516a8798434751470f9010153ac33d0d5f2047ffdb1a3e42c9b4e6be66"
        + "2766e1eeb4116988ede5f912c",
      pB: "0406557e482bd03097ad0cbaa5df82115460d951e3451962f1eaf4367a420676d09857ccbc522686c83d1852abfa8ed6e4a1155cf"
        + "8f1543ceca528afb591a1e0b7",
      key: "0e0672dc86f8e45565d338b0540abe69",
      confirmationA: "58ad4aa88e0b60d5061eb6b5dd93e80d9c4f00d127c65b3b35b1b5281fee38f0",
      confirmationB: "d3e2e547f1ae04f2dbdbf0fc4b79f8ecff2dff314b5d32fe9fcef2fb26dc459b"),
    Vector(
      a: "", b: "client", w: "0548d8729f730589e579b0475a582c1608138ddf7054b73b5381c7e883e2efae",
      x: "403abbe3b1b4b9ba17e3032849759d723939a27a27b9d921c500edde18ed654b",
      y: "903023b6598908936ea7c929bd761af6039577a9c3f9581064187c3049d87065",
      pA: "04a897b769e681c62ac1c2357319a3d363f610839c4477720d24cbe32f5fd85f44fb92ba966578c1b712be6962498834078262caa5"
        + "b441ecfa9d4a9485720e918a",
      pB: "04e0f816fd1c35e22065d5556215c097e799390d16661c386e0ecc84593974a61b881a8c82327687d0501862970c64565560cb5671"
        + "f696048050ca66ca5f8cc7fc",
      key: "642f05c473c2cd79909f9a841e2f30a7",
      confirmationA: "47d29e6666af1b7dd450d571233085d7a9866e4d49d2645e2df975489521232b",
      confirmationB: "3313c5cefc361d27fb16847a91c2a73b766ffa90a4839122a9b70a2f6bd1d6df"),
    Vector(
      a: "server", b: "", w: "626e0cdc7b14c9db3e52a0b1b3a768c98e37852d5db30febe0497b14eae8c254",
      x: "07adb3db6bc623d3399726bfdbfd3d15a58ea776ab8a308b00392621291f9633",
      y: "b6a4fc8dbb629d4ba51d6f91ed1532cf87adec98f25dd153a75accafafedec16",
      pA: "04f88fb71c99bfffaea370966b7eb99cd4be0ff1a7d335caac4211c4afd855e2e15a873b298503ad8ba1d9cbb9a392d2ba309b48bf"
        + "d7879aefd0f2cea6009763b0",
      pB: "040c269d6be017dccb15182ac6bfcd9e2a14de019dd587eaf4bdfd353f031101e7cca177f8eb362a6e83e7d5e729c0732e1b528879"
        + "c086f39ba0f31a9661bd34db",
      key: "005184ff460da2ce59062c87733c299c",
      confirmationA: "bc9f9bbe99f26d0b2260e6456e05a86196a3307ec6663a18bf6ac825736533b2",
      confirmationB: "c2370e1bf813b086dff0d834e74425a06e6390f48f5411900276dcccc5a297ec"),
    Vector(
      a: "", b: "", w: "7bf46c454b4c1b25799527d896508afd5fc62ef4ec59db1efb49113063d70cca",
      x: "8cef65df64bb2d0f83540c53632de911b5b24b3eab6cc74a97609fd659e95473",
      y: "d7a66f64074a84652d8d623a92e20c9675c61cb5b4f6a0063e4648a2fdc02d53",
      pA: "04a65b367a3f613cf9f0654b1b28a1e3a8a40387956c8ba6063e8658563890f46ca1ef6a676598889fc28de2950ab8120b79a5ef1e"
        + "a4c9f44bc98f585634b46d66",
      pB: "04589f13218822710d98d8b2123a079041052d9941b9cf88c6617ddb2fcc0494662eea8ba6b64692dc318250030c6af045cb738bc8"
        + "1ba35b043c3dcb46adf6f58d",
      key: "fc6374762ba5cf11f4b2caa08b2cd1b9",
      confirmationA: "dfb4db8d48ae5a675963ea5e6c19d98d4ea028d8e898dad96ea19a80ade95dca",
      confirmationB: "d0f0609d1613138d354f7e95f19fb556bf52d751947241e8c7118df5ef0ae175"),
  ]

  func side(_ side: SPAKE2.Side) -> SPAKE2 {
    SPAKE2(
      side, w: Secret(copying: bytes(w)), identityA: Array(a.utf8), identityB: Array(b.utf8), associated: [],
      scalar: Secret(copying: bytes(side == .a ? x : y)))
  }
}

/// The bytes of hexadecimal digits.
func bytes(_ hex: String) -> [UInt8] {
  let digits = Array(hex.utf8)
  return stride(from: 0, to: digits.count, by: 2).compactMap {
    UInt8(String(decoding: digits[$0...$0 + 1], as: UTF8.self), radix: 16)
  }
}

extension Secret {
  var hex: String { withBytes { Hex.encode($0) } }
}

@Suite struct SPAKE2Tests {
  @Test("Both sides yield what RFC 9382 says", arguments: Vector.all)
  func vectors(_ vector: Vector) throws {
    let a = vector.side(.a)
    let b = vector.side(.b)
    #expect(Hex.encode(a.share) == vector.pA)
    #expect(Hex.encode(b.share) == vector.pB)
    for outcome in [try #require(a.finish(b.share)), try #require(b.finish(a.share))] {
      #expect(outcome.key.hex == vector.key)
      #expect(outcome.confirmationA.hex == vector.confirmationA)
      #expect(outcome.confirmationB.hex == vector.confirmationB)
    }
  }

  @Test("A share with one bit flipped is refused or yields another key", arguments: Vector.all)
  func flipped(_ vector: Vector) throws {
    let a = vector.side(.a)
    for index in [0, 1, 32, 33, 64] {
      var share = bytes(vector.pB)
      share[index] ^= 1
      #expect(a.finish(share)?.key.hex != vector.key)
    }
  }

  @Test("Shares that are no point of the curve, or the identity, are refused")
  func invalidShares() {
    let a = Vector.all[0].side(.a)
    let good = bytes(Vector.all[0].pB)
    let offCurve = Array(good.dropLast()) + [good[64] ^ 1]
    let compressed = [2 + (good[64] & 1)] + good[1...32]
    let shares: [[UInt8]] = [
      [], [0], offCurve, compressed, Array(good.dropLast()), good + [0], [4] + Array(repeating: 0, count: 64),
      [4] + Array(repeating: 0xFF, count: 64), [0] + good[1...], [6] + good[1...], [7] + good[1...],
    ]
    for share in shares { #expect(a.finish(share) == nil) }
  }

  @Test("A share that cancels to the identity is refused")
  func cancelling() {
    let one = Secret(copying: [UInt8](repeating: 0, count: 31) + [1])
    let order = bytes("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
    let minusOne = Secret(copying: order.dropLast() + [order[31] - 1])
    // With G in N's place the share (−1)·G + 2·G less the mask 1·G is the identity.
    let g = bytes("036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296")
    let share = Curve.share(minusOne, masked: two, by: g)
    #expect(Curve.shared(one, share: share, masked: one, by: g) == nil)
  }

  private var two: Secret { Secret(copying: [UInt8](repeating: 0, count: 31) + [2]) }

  @Test("Another AAD gives other confirmations")
  func associatedData() throws {
    let vector = Vector.all[0]
    let other = SPAKE2(
      .a, w: Secret(copying: bytes(vector.w)), identityA: Array(vector.a.utf8), identityB: Array(vector.b.utf8),
      associated: [1], scalar: Secret(copying: bytes(vector.x)))
    let outcome = try #require(other.finish(bytes(vector.pB)))
    #expect(outcome.key.hex == vector.key)
    #expect(outcome.confirmationA.hex != vector.confirmationA)
  }

  @Test("HKDF yields what RFC 5869 says")
  func hkdf() {
    let ikm = [UInt8](repeating: 0x0b, count: 22)
    let first = ikm.withUnsafeBytes {
      KeyDerivation.hkdf($0, salt: bytes("000102030405060708090a0b0c"), info: bytes("f0f1f2f3f4f5f6f7f8f9"), count: 42)
    }
    #expect(
      first.hex
        == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
    let third = ikm.withUnsafeBytes { KeyDerivation.hkdf($0, salt: [], info: [], count: 42) }
    #expect(
      third.hex
        == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8")
  }
}
