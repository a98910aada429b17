# Completion of cxr-edge. Made by scripts/completions.py; changes are lost.
Register-ArgumentCompleter -Native -CommandName cxr-edge -ScriptBlock {
  param($word, $line, $place)
  $options = @{
    'bench' = @('--task', '--scope', '--precision', '--batch-size', '--provider', '--threads', '--window', '--within', '--max-windows', '--json', '--out', '--compare', '--across-machines', '--plot', '--bundle', '--quiet', '-q', '--verbose', '-v', '--help')
    'completion' = @('--quiet', '-q', '--verbose', '-v', '--help')
    'doctor' = @('--json', '--bundle', '--provider', '--quiet', '-q', '--verbose', '-v', '--help')
    'explain' = @('--out', '--mode', '--method', '--target', '--cam', '--lime', '--segments', '--superpixels', '--stability', '--samples', '--budget', '--fill', '--second-fill', '--score', '--seed', '--force', '--bundle', '--provider', '--threads', '--precision', '--operating-point', '--no-unsure', '--prevalence', '--test-time-augmentation', '--tta', '--no-gate', '--dicom-out', '--sr', '--gsps', '--quiet', '-q', '--verbose', '-v', '--help')
    'node' = @('--out', '--ae-title', '--port', '--host', '--accept', '--send-to', '--tls-cert', '--tls-key', '--tls-ca', '--max-size', '--max-associations', '--min-free', '--keep', '--check', '--explain', '--explain-if', '--sr', '--gsps', '--workers', '--bundle', '--provider', '--precision', '--operating-point', '--no-unsure', '--prevalence', '--no-gate', '--mode', '--skip-bad', '--quiet', '-q', '--verbose', '-v', '--help')
    'predict' = @('--files-from', '--json', '--bundle', '--provider', '--threads', '--precision', '--operating-point', '--no-unsure', '--prevalence', '--test-time-augmentation', '--tta', '--no-gate', '--dicom-out', '--sr', '--quiet', '-q', '--verbose', '-v', '--help')
    'report' = @('--formats', '--skip-bad', '--quiet', '-q', '--verbose', '-v', '--help')
    'scan' = @('--out', '--explain', '--explain-if', '--formats', '--annotated', '--watch', '--poll', '--recursive', '--no-recursive', '--include', '--exclude', '--workers', '--batch-size', '--engine', '--ray-address', '--bundle', '--provider', '--precision', '--operating-point', '--no-unsure', '--prevalence', '--test-time-augmentation', '--tta', '--no-gate', '--mode', '--skip-bad', '--dicom-out', '--sr', '--gsps', '--quiet', '-q', '--verbose', '-v', '--help')
    'schema' = @('--quiet', '-q', '--verbose', '-v', '--help')
    'tune' = @('--json', '--bundle', '--seconds', '--quiet', '-q', '--verbose', '-v', '--help')
    'verify' = @('--bundle', '--provider', '--require-signature', '--quiet', '-q', '--verbose', '-v', '--help')
    'view' = @('--port', '--browser', '--bundle', '--provider', '--threads', '--precision', '--operating-point', '--no-gate', '--quiet', '-q', '--verbose', '-v', '--help')
  }
  $values = @{
    'completion' = @('bash', 'zsh', 'fish', 'powershell')
    'doctor --provider' = @('auto', 'cpu', 'cuda', 'openvino', 'openvino:gpu', 'openvino:npu', 'directml')
    'explain --method' = @('gradcam', 'lime', 'both', 'shap', 'all')
    'explain --cam' = @('gradcam', 'hirescam', 'gradcam++', 'layercam')
    'explain --lime' = @('fast', 'reference')
    'explain --segments' = @('slic', 'grid', 'quickshift')
    'explain --fill' = @('mean', 'blur', 'black')
    'explain --second-fill' = @('mean', 'blur', 'black')
    'explain --score' = @('logodds', 'probability')
    'explain --provider' = @('auto', 'cpu', 'cuda', 'openvino', 'openvino:gpu', 'openvino:npu', 'directml')
    'explain --precision' = @('auto', 'fp32', 'int8', 'bf16')
    'explain --sr' = @('comprehensive3d', 'enhanced')
    'node --explain' = @('none', 'gradcam', 'lime', 'both')
    'node --explain-if' = @('positive', 'all')
    'node --sr' = @('comprehensive3d', 'enhanced')
    'node --provider' = @('auto', 'cpu', 'cuda', 'openvino', 'openvino:gpu', 'openvino:npu', 'directml')
    'node --precision' = @('auto', 'fp32', 'int8', 'bf16')
    'predict --provider' = @('auto', 'cpu', 'cuda', 'openvino', 'openvino:gpu', 'openvino:npu', 'directml')
    'predict --precision' = @('auto', 'fp32', 'int8', 'bf16')
    'predict --sr' = @('comprehensive3d', 'enhanced')
    'scan --explain' = @('none', 'gradcam', 'lime', 'both')
    'scan --explain-if' = @('positive', 'all')
    'scan --engine' = @('local', 'ray')
    'scan --provider' = @('auto', 'cpu', 'cuda', 'openvino', 'openvino:gpu', 'openvino:npu', 'directml')
    'scan --precision' = @('auto', 'fp32', 'int8', 'bf16')
    'scan --sr' = @('comprehensive3d', 'enhanced')
    'verify --provider' = @('auto', 'cpu', 'cuda', 'openvino', 'openvino:gpu', 'openvino:npu', 'directml')
    'view --provider' = @('auto', 'cpu', 'cuda', 'openvino', 'openvino:gpu', 'openvino:npu', 'directml')
    'view --precision' = @('auto', 'fp32', 'int8', 'bf16')
  }
  $typed = @($line.CommandElements | ForEach-Object { $_.ToString() })
  if ($word -ne '') { $typed = @($typed | Select-Object -SkipLast 1) }
  $asked = "$($typed[1]) $($typed[-1])"
  $found = @()
  if ($typed.Count -eq 1) { $found = @($options.Keys | Sort-Object) + @('--help', '--version') }
  elseif ($values.ContainsKey($asked)) { $found = $values[$asked] }
  elseif ($word.StartsWith('-')) { $found = $options[$typed[1]] }
  elseif ($values.ContainsKey($typed[1])) { $found = $values[$typed[1]] }
  $found | Where-Object { $_ -like "$word*" } | ForEach-Object {
    [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
  }
}
