#!/usr/bin/env bash
# tensorboardX 2.6.5, boto3 1.44.8.
# Guess: `tensorboardX.proto`, the messages of event files, imports protobuf and nothing else
# of weight; a client of S3 is imported once a path begins with `s3://`.
# Seen: any import of the package imports boto3, and with it botocore and urllib3, if boto3 is
# installed, as it is beside many tools for experiments: hundreds of modules.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorboardX==2.6.5 numpy==2.4.6
cd "$folder"
cat > count.py <<'PY'
import sys

import tensorboardX.proto.event_pb2

found = {name.partition(".")[0] for name in sys.modules}
print(sorted(found & {"boto3", "botocore", "urllib3"}), len(sys.modules))
PY
alone=$("$folder/venv/bin/python" count.py)
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check boto3==1.44.8
beside=$("$folder/venv/bin/python" count.py)
echo "without boto3 installed: $alone"
echo "with it: $beside"
[[ $alone == "[] "* ]]
[[ $beside == "['boto3', 'botocore', 'urllib3'] "* ]]
(( ${beside##* } > ${alone##* } + 200 ))
echo "As described."
