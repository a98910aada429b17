# Completion of cxr-edge. Made by scripts/completions.py; changes are lost.
_cxr_edge() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words=
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    words="bench completion doctor explain node predict report scan schema tune verify view --help --version"
  else case "${COMP_WORDS[1]} $before" in
    'bench --task') return ;;
    'bench --scope') return ;;
    'bench --precision') return ;;
    'bench --batch-size') return ;;
    'bench --provider') return ;;
    'bench --threads') return ;;
    'bench --window') return ;;
    'bench --within') return ;;
    'bench --max-windows') return ;;
    'bench --out') return ;;
    'bench --compare') return ;;
    'bench --plot') return ;;
    'bench --bundle') return ;;
    'doctor --bundle') return ;;
    'doctor --provider') words='auto cpu cuda openvino openvino:gpu openvino:npu directml' ;;
    'explain --out') return ;;
    'explain --mode') return ;;
    'explain --method') words='gradcam lime both shap all' ;;
    'explain --target') return ;;
    'explain --cam') words='gradcam hirescam gradcam++ layercam' ;;
    'explain --lime') words='fast reference' ;;
    'explain --segments') words='slic grid quickshift' ;;
    'explain --superpixels') return ;;
    'explain --stability') return ;;
    'explain --samples') return ;;
    'explain --budget') return ;;
    'explain --fill') words='mean blur black' ;;
    'explain --second-fill') words='mean blur black' ;;
    'explain --score') words='logodds probability' ;;
    'explain --seed') return ;;
    'explain --bundle') return ;;
    'explain --provider') words='auto cpu cuda openvino openvino:gpu openvino:npu directml' ;;
    'explain --threads') return ;;
    'explain --precision') words='auto fp32 int8 bf16' ;;
    'explain --operating-point') return ;;
    'explain --prevalence') return ;;
    'explain --dicom-out') return ;;
    'explain --sr') words='comprehensive3d enhanced' ;;
    'node --out') return ;;
    'node --ae-title') return ;;
    'node --port') return ;;
    'node --host') return ;;
    'node --accept') return ;;
    'node --send-to') return ;;
    'node --tls-cert') return ;;
    'node --tls-key') return ;;
    'node --tls-ca') return ;;
    'node --max-size') return ;;
    'node --max-associations') return ;;
    'node --min-free') return ;;
    'node --keep') return ;;
    'node --explain') words='none gradcam lime both' ;;
    'node --explain-if') words='positive all' ;;
    'node --sr') words='comprehensive3d enhanced' ;;
    'node --workers') return ;;
    'node --bundle') return ;;
    'node --provider') words='auto cpu cuda openvino openvino:gpu openvino:npu directml' ;;
    'node --precision') words='auto fp32 int8 bf16' ;;
    'node --operating-point') return ;;
    'node --prevalence') return ;;
    'node --mode') return ;;
    'predict --files-from') return ;;
    'predict --bundle') return ;;
    'predict --provider') words='auto cpu cuda openvino openvino:gpu openvino:npu directml' ;;
    'predict --threads') return ;;
    'predict --precision') words='auto fp32 int8 bf16' ;;
    'predict --operating-point') return ;;
    'predict --prevalence') return ;;
    'predict --dicom-out') return ;;
    'predict --sr') words='comprehensive3d enhanced' ;;
    'report --formats') return ;;
    'scan --out') return ;;
    'scan --explain') words='none gradcam lime both' ;;
    'scan --explain-if') words='positive all' ;;
    'scan --formats') return ;;
    'scan --poll') return ;;
    'scan --include') return ;;
    'scan --exclude') return ;;
    'scan --workers') return ;;
    'scan --batch-size') return ;;
    'scan --engine') words='local ray' ;;
    'scan --ray-address') return ;;
    'scan --bundle') return ;;
    'scan --provider') words='auto cpu cuda openvino openvino:gpu openvino:npu directml' ;;
    'scan --precision') words='auto fp32 int8 bf16' ;;
    'scan --operating-point') return ;;
    'scan --prevalence') return ;;
    'scan --mode') return ;;
    'scan --dicom-out') return ;;
    'scan --sr') words='comprehensive3d enhanced' ;;
    'tune --bundle') return ;;
    'tune --seconds') return ;;
    'verify --bundle') return ;;
    'verify --provider') words='auto cpu cuda openvino openvino:gpu openvino:npu directml' ;;
    'verify --require-signature') return ;;
    'view --port') return ;;
    'view --bundle') return ;;
    'view --provider') words='auto cpu cuda openvino openvino:gpu openvino:npu directml' ;;
    'view --threads') return ;;
    'view --precision') words='auto fp32 int8 bf16' ;;
    'view --operating-point') return ;;
    *) case "${COMP_WORDS[1]} $word" in
      "bench -"*) words="--task --scope --precision --batch-size --provider --threads --window --within --max-windows --json --out --compare --across-machines --plot --bundle --quiet -q --verbose -v --help" ;;
      "completion -"*) words="--quiet -q --verbose -v --help" ;;
      "completion "*) words="bash zsh fish powershell" ;;
      "doctor -"*) words="--json --bundle --provider --quiet -q --verbose -v --help" ;;
      "explain -"*) words="--out --mode --method --target --cam --lime --segments --superpixels --stability --samples --budget --fill --second-fill --score --seed --force --bundle --provider --threads --precision --operating-point --no-unsure --prevalence --test-time-augmentation --tta --no-gate --dicom-out --sr --gsps --quiet -q --verbose -v --help" ;;
      "node -"*) words="--out --ae-title --port --host --accept --send-to --tls-cert --tls-key --tls-ca --max-size --max-associations --min-free --keep --check --explain --explain-if --sr --gsps --workers --bundle --provider --precision --operating-point --no-unsure --prevalence --no-gate --mode --skip-bad --quiet -q --verbose -v --help" ;;
      "predict -"*) words="--files-from --json --bundle --provider --threads --precision --operating-point --no-unsure --prevalence --test-time-augmentation --tta --no-gate --dicom-out --sr --quiet -q --verbose -v --help" ;;
      "report -"*) words="--formats --skip-bad --quiet -q --verbose -v --help" ;;
      "scan -"*) words="--out --explain --explain-if --formats --annotated --watch --poll --recursive --no-recursive --include --exclude --workers --batch-size --engine --ray-address --bundle --provider --precision --operating-point --no-unsure --prevalence --test-time-augmentation --tta --no-gate --mode --skip-bad --dicom-out --sr --gsps --quiet -q --verbose -v --help" ;;
      "schema -"*) words="--quiet -q --verbose -v --help" ;;
      "tune -"*) words="--json --bundle --seconds --quiet -q --verbose -v --help" ;;
      "verify -"*) words="--bundle --provider --require-signature --quiet -q --verbose -v --help" ;;
      "view -"*) words="--port --browser --bundle --provider --threads --precision --operating-point --no-gate --quiet -q --verbose -v --help" ;;
    esac ;;
  esac; fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _cxr_edge cxr-edge
