"""The options of the Kubernetes agent, as data. Reading them imports nothing of Kubernetes."""

from typing import Final

from prefect.agent.ports.platform_options import PlatformOption

OPTIONS: Final = (
    PlatformOption(
        name="namespace",
        flags=("--namespace",),
        variable="NAMESPACE",
        placeholder="NAME",
        help="Create Jobs in this namespace. Default: NAMESPACE, else the agent's own namespace.",
    ),
    PlatformOption(
        name="job_template_path",
        flags=("--job-template",),
        variable="YAML_TEMPLATE",
        placeholder="PATH",
        help="Make Jobs from the template in this file or at this address. Default: YAML_TEMPLATE, else the built-in "
        "template.",
    ),
    PlatformOption(
        name="template_paths",
        flags=("--template-path",),
        repeatable=True,
        placeholder="PREFIX",
        help="Let run configs name job templates below this folder, file or address, too. Repeatable. Default: "
        "PREFECT_AGENT_TEMPLATE_PATHS, else only public web addresses.",
    ),
    PlatformOption(
        name="service_account_name",
        flags=("--service-account-name",),
        variable="SERVICE_ACCOUNT_NAME",
        placeholder="NAME",
        help="Service account of the Jobs' pods. Default: SERVICE_ACCOUNT_NAME, else the namespace's default.",
    ),
    PlatformOption(
        name="image_pull_secrets",
        flags=("--image-pull-secrets",),
        variable="IMAGE_PULL_SECRETS",
        placeholder="A,B",
        help="Secrets with the logins for pulling the Jobs' images. Default: IMAGE_PULL_SECRETS, else none.",
    ),
    PlatformOption(
        name="delete_finished_jobs",
        flags=("--disable-job-deletion",),
        kind="flag",
        given=False,
        help="Do not delete finished Jobs. Default: delete them, unless DELETE_FINISHED_JOBS is False.",
    ),
    PlatformOption(
        name="kubeconfig",
        flags=("--kubeconfig",),
        placeholder="PATH",
        help="Kubeconfig file to use. Default: the pod's service account, else KUBECONFIG, else ~/.kube/config.",
    ),
    PlatformOption(
        name="context",
        flags=("--context",),
        placeholder="NAME",
        help="Kubeconfig context to use. Default: the file's current context.",
    ),
    PlatformOption(
        name="api_key_secret",
        flags=("--api-key-secret",),
        variable="PREFECT_AGENT_API_KEY_SECRET",
        placeholder="NAME/KEY",
        help="Give Jobs the API key from this Secret. Default: PREFECT_AGENT_API_KEY_SECRET, else the agent creates "
        "a Secret for each Job.",
    ),
    PlatformOption(
        name="job_security",
        flags=("--job-security",),
        variable="PREFECT_AGENT_JOB_SECURITY",
        choices=("restricted", "none"),
        help="Pod security settings of Jobs whose template sets none. Default: PREFECT_AGENT_JOB_SECURITY, else "
        "restricted.",
    ),
    PlatformOption(
        name="cluster_wide",
        flags=("--cluster-wide",),
        variable="PREFECT_AGENT_CLUSTER_WIDE",
        kind="flag",
        help="Let job templates name any namespace. Default: PREFECT_AGENT_CLUSTER_WIDE, else only the agent's.",
    ),
    PlatformOption(
        name="without",
        flags=("--without",),
        repeatable=True,
        choices=("clean-up", "cancel", "logs", "events"),
        help="Switch off this feature, which then needs no permissions. Repeatable. Default: PREFECT_AGENT_WITHOUT, "
        "else none.",
    ),
    PlatformOption(
        name="start_trouble",
        flags=("--start-trouble",),
        kind="number",
        least=0,
        placeholder="S",
        help="Give up on a pod whose image cannot be pulled for S seconds. Default: 60.",
    ),
    PlatformOption(
        name="start_deadline",
        flags=("--start-deadline",),
        kind="number",
        least=0,
        placeholder="S",
        help="Give up on a pod that no node, or no quota, has room for during S seconds. Default: 21600.",
    ),
    PlatformOption(
        name="qps",
        flags=("--qps",),
        kind="number",
        above=0,
        placeholder="N",
        help="Send the API server at most N requests per second on average. Default: 200.",
    ),
    PlatformOption(
        name="burst",
        flags=("--burst",),
        kind="whole",
        least=1,
        placeholder="N",
        help="Send the API server at most N requests at once. Default: 400.",
    ),
)
