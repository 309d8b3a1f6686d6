import CP2PFSOpenSSL

/// NIST P-256 by OpenSSL, with the few operations that SPAKE2 needs. Values are passed as bytes, so that no OpenSSL
/// handle outlives a call.
enum Curve {
  /// Length of an uncompressed point (SEC 1, section 2.3.3).
  static let pointLength = 65
  /// Length of a scalar.
  static let scalarLength = 32

  /// M of RFC 9382, section 4, compressed.
  static let m: [UInt8] = [
    0x02, 0x88, 0x6e, 0x2f, 0x97, 0xac, 0xe4, 0x6e, 0x55, 0xba, 0x9d, 0xd7, 0x24, 0x25, 0x79, 0xf2, 0x99, 0x3b, 0x64,
    0xe1, 0x6e, 0xf3, 0xdc, 0xab, 0x95, 0xaf, 0xd4, 0x97, 0x33, 0x3d, 0x8f, 0xa1, 0x2f,
  ]
  /// N of RFC 9382, section 4, compressed.
  static let n: [UInt8] = [
    0x03, 0xd8, 0xbb, 0xd6, 0xc6, 0x39, 0xc6, 0x29, 0x37, 0xb0, 0x4d, 0x99, 0x7f, 0x38, 0xc3, 0x77, 0x07, 0x19, 0xc6,
    0x29, 0xd7, 0x01, 0x4d, 0x49, 0xa2, 0x4b, 0x4f, 0x98, 0xba, 0xa1, 0x29, 0x2b, 0x49,
  ]

  /// A random scalar from 1 to the group's order less one, big-endian.
  static func randomScalar() -> Secret {
    let curve = Arithmetic()
    let value = curve.number()
    repeat {
      guard BN_priv_rand_range(value, curve.order) == 1 else { fatalError("the system has no random numbers") }
    } while BN_is_zero(value) == 1
    return curve.scalar(value)
  }

  /// `bytes`, taken as a big-endian number, modulo the group's order.
  static func reduce(_ bytes: Secret) -> Secret {
    let curve = Arithmetic()
    let value = curve.number(bytes)
    BN_set_flags(value, BN_FLG_CONSTTIME)
    let reduced = curve.number()
    guard BN_nnmod(reduced, value, curve.order, curve.context) == 1 else { fatalError("out of memory for a number") }
    return curve.scalar(reduced)
  }

  /// x·G + w·base: a public share.
  static func share(_ x: Secret, masked w: Secret, by base: [UInt8]) -> [UInt8] {
    let curve = Arithmetic()
    guard let mask = curve.point(base) else { preconditionFailure("a constant of ours is on the curve") }
    let sum = curve.point()
    curve.multiply(mask, mask, curve.number(w))
    guard EC_POINT_mul(curve.group, sum, curve.number(x), nil, nil, curve.context) == 1,
      EC_POINT_add(curve.group, sum, sum, mask, curve.context) == 1
    else { fatalError("out of memory for a point") }
    return curve.encode(sum).withBytes(Array.init)
  }

  /// x·(share − w·base): the shared point, or nil if `share` is no point of the curve or the result is the identity.
  /// The cofactor of P-256 is 1, so a point on the curve is in the group.
  static func shared(_ x: Secret, share: [UInt8], masked w: Secret, by base: [UInt8]) -> Secret? {
    let curve = Arithmetic()
    guard share.count == pointLength, share[0] == 4, let theirs = curve.point(share) else { return nil }
    guard EC_POINT_is_at_infinity(curve.group, theirs) == 0 else { return nil }
    guard let mask = curve.point(base) else { preconditionFailure("a constant of ours is on the curve") }
    curve.multiply(mask, mask, curve.number(w))
    guard EC_POINT_invert(curve.group, mask, curve.context) == 1,
      EC_POINT_add(curve.group, theirs, theirs, mask, curve.context) == 1
    else { fatalError("out of memory for a point") }
    curve.multiply(theirs, theirs, curve.number(x))
    guard EC_POINT_is_at_infinity(curve.group, theirs) == 0 else { return nil }
    return curve.encode(theirs)
  }

  /// The group, a context, and all numbers and points of one computation, freed and wiped together.
  private final class Arithmetic {
    let group: OpaquePointer
    let context: OpaquePointer
    let order: OpaquePointer
    private var numbers: [OpaquePointer] = []
    private var points: [OpaquePointer] = []

    init() {
      guard let group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1), let context = BN_CTX_secure_new(),
        let order = EC_GROUP_get0_order(group)
      else { fatalError("OpenSSL has no P-256") }
      self.group = group
      self.context = context
      self.order = order
    }

    deinit {
      for number in numbers { BN_clear_free(number) }
      for point in points { EC_POINT_clear_free(point) }
      BN_CTX_free(context)
      EC_GROUP_free(group)
    }

    func number() -> OpaquePointer {
      guard let number = BN_new() else { fatalError("out of memory for a number") }
      BN_set_flags(number, BN_FLG_CONSTTIME)
      numbers.append(number)
      return number
    }

    func number(_ bytes: Secret) -> OpaquePointer {
      let number = number()
      bytes.withBytes {
        _ = BN_bin2bn($0.baseAddress?.assumingMemoryBound(to: UInt8.self), Int32($0.count), number)
      }
      return number
    }

    func scalar(_ number: OpaquePointer) -> Secret {
      Secret(count: scalarLength) { out in
        let written = BN_bn2binpad(
          number, out.baseAddress?.assumingMemoryBound(to: UInt8.self), Int32(scalarLength))
        precondition(written == Int32(scalarLength))
      }
    }

    func point() -> OpaquePointer {
      guard let point = EC_POINT_new(group) else { fatalError("out of memory for a point") }
      points.append(point)
      return point
    }

    /// The point that `bytes` encode, or nil. EC_POINT_oct2point rejects points that are not on the curve.
    func point(_ bytes: [UInt8]) -> OpaquePointer? {
      let point = point()
      guard EC_POINT_oct2point(group, point, bytes, bytes.count, context) == 1 else {
        ERR_clear_error()
        return nil
      }
      return point
    }

    func multiply(_ result: OpaquePointer, _ point: OpaquePointer, _ scalar: OpaquePointer) {
      guard EC_POINT_mul(group, result, nil, point, scalar, context) == 1 else {
        fatalError("out of memory for a point")
      }
    }

    func encode(_ point: OpaquePointer) -> Secret {
      Secret(count: pointLength) { out in
        let written = EC_POINT_point2oct(
          group, point, POINT_CONVERSION_UNCOMPRESSED, out.baseAddress?.assumingMemoryBound(to: UInt8.self), out.count,
          context)
        precondition(written == pointLength, "shares and shared points are never the identity")
      }
    }
  }
}
