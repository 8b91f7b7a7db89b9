#include "launch/machine.h"

#include <unistd.h>

#include <fstream>

#include "core/train/agreement.h"
#include "launch/version.h"

namespace tsugi {

Machine this_machine() {
  Machine machine;
  machine.program = std::string(kVersion) + " (" + binary_fingerprint() + ")";
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  machine.host = name;
  std::ifstream processors("/proc/cpuinfo");
  for (std::string line; std::getline(processors, line);) {
    if (!line.starts_with("model name")) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) machine.processor = line.substr(colon + 2);
    break;
  }
  return machine;
}

}  // namespace tsugi
