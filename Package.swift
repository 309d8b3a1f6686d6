// swift-tools-version: 6.1
import PackageDescription

let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

/// A layer: one folder under Sources. Arrows point down only (see ARCHITECTURE.md).
func layer(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

/// The unit tests of one layer.
func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .testTarget(name: name, dependencies: dependencies, swiftSettings: settings)
}

/// A program of a user of the library: it sees no more than the public API.
func example(_ name: String) -> Target {
  .executableTarget(
    name: name, dependencies: ["P2PFS"], path: "examples/\(name)", packageAccess: false, swiftSettings: settings)
}

let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")
let log = Target.Dependency.product(name: "Logging", package: "swift-log")
let collections = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let nio: [Target.Dependency] = [
  .product(name: "NIOCore", package: "swift-nio"),
  .product(name: "NIOPosix", package: "swift-nio"),
  .product(name: "NIOHTTP1", package: "swift-nio"),
  .product(name: "NIOTLS", package: "swift-nio"),
  .product(name: "NIOWebSocket", package: "swift-nio"),
  .product(name: "NIOSSL", package: "swift-nio-ssl"),
]

let package = Package(
  name: "p2pfs",
  // Programs are products of this package without being named. Named, they would bring layers that the library does not
  // need, Mount among them, into the packages of its users, where the names of all targets have to differ.
  products: [.library(name: "P2PFS", targets: ["P2PFS"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
  ],
  targets: [
    // System libraries. Their shims are static inline functions for what Swift cannot import.
    .systemLibrary(name: "CFuse3", pkgConfig: "fuse3", providers: [.apt(["libfuse3-dev"])]),
    .systemLibrary(name: "CNice", pkgConfig: "glib-2.0", providers: [.apt(["libnice-dev"])]),
    .systemLibrary(name: "CUsrsctp", providers: [.apt(["libusrsctp-dev"])]),
    .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CLinux"),

    // Layers, lowest first.
    layer("Core", ["CLinux", system]),
    layer("Wire", ["Core", system]),
    layer("Pairing", ["Core", "COpenSSL"]),
    layer("Signaling", ["Core", "COpenSSL", collections, log] + nio),
    layer("Transport", ["Core", "CLinux", "CNice", "CUsrsctp", "COpenSSL", collections, log]),
    layer("Session", ["Core", "Wire", "Pairing", "Signaling", "Transport", collections, log, system]),
    layer("Export", ["Core", "Wire", "Session", "CLinux", collections, log, system]),
    layer("Pipes", ["Core", "Wire", "Session", "CLinux", system]),
    layer("Transfer", ["Core", "Wire", "Session", "Export", "CLinux", "COpenSSL", collections, log, system]),
    layer("FUSE", ["Core", "CFuse3", "CLinux", log, system]),
    layer("Mount", ["Core", "Wire", "Session", "FUSE", "CLinux", collections, log, system]),
    layer("Forward", ["Core", "Wire", "Session", log] + nio),
    layer(
      "P2PFS",
      ["Core", "Wire", "Session", "Export", "Signaling", "Pairing", "Transport", collections, log, system]),

    .executableTarget(
      name: "p2pfs",
      dependencies: [
        "P2PFS", "Core", "CLinux", "Signaling", "Session", "Export", "Pipes", "Transfer", "Forward", "Mount", "FUSE",
        "Wire", arguments, log, system,
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "p2pfs-bench",
      dependencies: ["Core", "CLinux", "Wire", "Transport", "Session", arguments],
      swiftSettings: settings),

    // What the library's users start from: each is one file.
    example("echo-server"),
    example("echo-client"),
    example("chat"),

    // What several test targets share: links in memory, temporary directories.
    .target(
      name: "Rig", dependencies: ["Core", "Wire", "Session", "CLinux", system], path: "Tests/Rig",
      swiftSettings: settings),
    // A peer that plays by no rule, for the tests end to end.
    .executableTarget(
      name: "hostile-peer", dependencies: ["P2PFS", "Pairing", "Session", "Transfer", "Wire", "Core", system],
      path: "Tests/HostilePeer", swiftSettings: settings),
    tests("CoreTests", ["Core", "CLinux", system]),
    tests("WireTests", ["Wire", "Core", system]),
    tests("PairingTests", ["Pairing", "Core"]),
    tests("SignalingTests", ["Signaling", "Core"] + nio),
    .testTarget(
      name: "TransportTests", dependencies: ["Transport", "Core", "CLinux", "CNice"], exclude: ["aiortc_peer.py"],
      swiftSettings: settings),
    tests("SessionTests", ["Rig", "Session", "Wire", "Core", system]),
    tests(
      "P2PFSTests",
      [
        "Rig", "DocumentedExamples", "CLinux", "P2PFS", "Session", "Signaling", "Pairing", "Transport", "Wire", "Core",
        system,
      ]),
    // What the documentation shows: compiled as a user's program is.
    .target(
      name: "DocumentedExamples", dependencies: ["P2PFS"], path: "Tests/DocumentedExamples", packageAccess: false,
      swiftSettings: settings),
    tests("ExportTests", ["Rig", "Export", "Session", "Wire", "Core", "CLinux", system]),
    tests("TransferTests", ["Rig", "Transfer", "Export", "Session", "Wire", "Core", "CLinux", system]),
    tests("PipesTests", ["Rig", "Pipes", "Session", "Wire", "Core", "CLinux", system]),
    tests("MountTests", ["Rig", "Mount", "FUSE", "Export", "Session", "Wire", "Core", "CLinux", system]),
    tests("ForwardTests", ["Rig", "Forward", "Session", "Wire", "Core", log] + nio),
    tests(
      "CommandTests",
      [
        "Rig", "p2pfs", "Session", "Signaling", "Pairing", "Mount", "FUSE", "Transport", "Core", arguments, system,
      ]),
    tests("EndToEndTests", ["Rig", "Core", "CLinux", system]),
  ],
  swiftLanguageModes: [.v6]
)
