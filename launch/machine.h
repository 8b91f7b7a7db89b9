// What a figure of speed is worth nothing without: the program and the machine that it was measured on.
#pragma once

#include <string>

namespace tsugi {

struct Machine {
  std::string program;    ///< "0.1.0 (2864434397)": version, CRC32C of this program's file
  std::string host;       ///< its name, as the kernel knows it
  std::string processor;  ///< "AMD EPYC 7763 64-Core Processor", as /proc/cpuinfo says; empty where it does not
};
Machine this_machine();

}  // namespace tsugi
