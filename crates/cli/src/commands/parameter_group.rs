//! Groups of rack parameters, for `convox rack params -g`.
//!
//! Which parameter belongs to which group is what the clients of versions 2 and 3 say; the
//! names of both generations are in one table, since a rack has those of its own only.

use std::fmt::Write as _;

use crate::error::Error;

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    /// Its name.
    pub(super) name: &'static str,
    about: &'static str,
    parameters: &'static str,
}

/// Sorted by name.
const GROUPS: &[Group] = &[
    Group {
        name: "api",
        about: "the API's own processes and router",
        parameters: "ApiCount ApiCpu ApiMonitorMemory ApiRouter ApiWebMemory DisableALBPort80 \
            InternalRouterSuffix LoadBalancerIdleTimeout PrivateApi RouterMitigationMode",
    },
    Group {
        name: "build",
        about: "where and how builds run",
        parameters: "additional_build_groups_config build_disable_convox_resolver \
            build_node_enabled build_node_min_count build_node_type buildkit_enabled \
            buildkit_host_path_cache_enable karpenter_build_capacity_types \
            karpenter_build_consolidate_after karpenter_build_cpu_limit \
            karpenter_build_instance_families karpenter_build_instance_sizes \
            karpenter_build_memory_limit_gb karpenter_build_node_labels BuildCpu BuildImage \
            BuildInstance BuildInstancePolicy BuildMemory BuildMethod BuildVolumeSize \
            FargateBuildCpu FargateBuildMemory PrivateBuild PruneOlderImagesCronRunFreq \
            PruneOlderImagesInHour",
    },
    Group {
        name: "cost",
        about: "what it costs, and tags to tell it apart",
        parameters: "cost_tracking_enable karpenter_capacity_types karpenter_consolidate_after \
            karpenter_consolidation_enabled node_capacity_type tags",
    },
    Group {
        name: "domain",
        about: "the rack's domain and its certificate",
        parameters: "convox_domain_tls_cert_disable convox_rack_domain domain",
    },
    Group {
        name: "gpu",
        about: "graphics processors and what is measured of them",
        parameters: "additional_karpenter_nodepools_config additional_node_groups_config \
            dcgm_scrape_interval gpu_metrics_max_concurrent gpu_metrics_max_pods \
            gpu_observability_chart_version gpu_observability_enable gpu_tag_enable \
            nvidia_device_plugin_enable nvidia_device_time_slicing_replicas \
            prometheus_gpu_metrics_chart_version prometheus_gpu_metrics_retention prometheus_url",
    },
    Group {
        name: "ingress",
        about: "routers, their certificates and timeouts",
        parameters: "cert_duration contour_cpu_request contour_internal_tls \
            contour_memory_request envoy_cpu_request envoy_memory_request idle_timeout \
            internal_router nginx_additional_config nginx_image proxy_protocol router_type \
            ssl_ciphers ssl_protocols",
    },
    Group {
        name: "instances",
        about: "machines: images, types, start commands, disks",
        parameters: "Ami CpuCredits DefaultAmi DefaultAmiArm InstanceBootCommand InstancePolicy \
            InstanceRunCommand InstanceType SwapSize Tenancy VolumeSize",
    },
    Group {
        name: "karpenter",
        about: "nodes that come and go with the load",
        parameters: "additional_karpenter_nodepools_config karpenter_arch karpenter_auth_mode \
            karpenter_build_capacity_types karpenter_build_consolidate_after \
            karpenter_build_cpu_limit karpenter_build_instance_families \
            karpenter_build_instance_sizes karpenter_build_memory_limit_gb \
            karpenter_build_node_labels karpenter_capacity_types karpenter_config \
            karpenter_consolidate_after karpenter_consolidation_enabled karpenter_cpu_limit \
            karpenter_disruption_budget_nodes karpenter_enabled karpenter_instance_families \
            karpenter_instance_sizes karpenter_memory_limit_gb karpenter_node_disk \
            karpenter_node_expiry karpenter_node_labels karpenter_node_taints \
            karpenter_node_volume_type keda_enable",
    },
    Group {
        name: "logging",
        about: "where logs go and how long they stay",
        parameters: "access_log_retention_in_days cost_tracking_enable eks_log_types \
            fluentd_disable fluentd_memory grafana_dashboard_var_app \
            grafana_dashboard_var_namespace grafana_dashboard_var_rack \
            grafana_dashboard_var_service grafana_url prometheus_url syslog telemetry LogBucket \
            LogDriver LogRetention SyslogDestination SyslogFormat",
    },
    Group {
        name: "meta",
        about: "version, telemetry and what concerns the rack as a whole",
        parameters: "ClientId Development EcsContainerStopTimeout EcsPollInterval \
            ImagePullBehavior MaintainTimerState Telemetry Version",
    },
    Group {
        name: "network",
        about: "networks, addresses, proxies",
        parameters: "availability_zones cidr deploy_extra_nlb disable_convox_resolver \
            disable_public_access eks_api_server_private_access_cidrs \
            eks_api_server_public_access_cidrs enable_private_access internal_router \
            internet_gateway_id nlb_security_group private_eks_host private_subnets_ids \
            proxy_protocol public_subnets_ids router_type vpc_id whitelist AvailabilityZones \
            ExistingVpc HttpProxy Internal InternalOnly InternetGateway MaxAvailabilityZones \
            PlaceLambdaInVpc Private Subnet0CIDR Subnet1CIDR Subnet2CIDR SubnetPrivate0CIDR \
            SubnetPrivate1CIDR SubnetPrivate2CIDR VPCCIDR",
    },
    Group {
        name: "nlb",
        about: "network balancers",
        parameters: "NLB NLBAllowCIDR NLBCrossZone NLBDeletionProtection NLBInternal \
            NLBInternalAllowCIDR NLBInternalCrossZone NLBInternalDeletionProtection \
            NLBInternalPreserveClientIP NLBPreserveClientIP",
    },
    Group {
        name: "nodes",
        about: "nodes: types, disks, labels, start data",
        parameters: "additional_node_groups_config dcgm_scrape_interval \
            gpu_metrics_max_concurrent gpu_metrics_max_pods gpu_observability_chart_version \
            gpu_observability_enable gpu_tag_enable grafana_dashboard_var_app \
            grafana_dashboard_var_namespace grafana_dashboard_var_rack \
            grafana_dashboard_var_service grafana_url karpenter_node_labels \
            karpenter_node_taints key_pair_name kubelet_registry_burst \
            kubelet_registry_pull_qps node_capacity_type node_disk \
            node_max_unavailable_percentage node_type nvidia_device_plugin_enable \
            nvidia_device_time_slicing_replicas os preemptible \
            prometheus_gpu_metrics_chart_version prometheus_gpu_metrics_retention \
            prometheus_url user_data user_data_url Ami CpuCredits DefaultAmi DefaultAmiArm \
            InstanceBootCommand InstancePolicy InstanceRunCommand InstanceType SwapSize Tenancy \
            VolumeSize",
    },
    Group {
        name: "registry",
        about: "image registries and their storage",
        parameters: "custom_provided_bucket disable_image_manifest_cache docker_hub_password \
            docker_hub_username ecr_additional_policy_arn ecr_docker_hub_cache ecr_full_access \
            ecr_scan_on_push_enable",
    },
    Group {
        name: "retention",
        about: "how long releases and logs are kept",
        parameters: "access_log_retention_in_days release_watcher_gc_interval \
            releases_to_retain_after_active releases_to_retain_task_run_interval_hour",
    },
    Group {
        name: "scaling",
        about: "how many machines, when, and of which kind",
        parameters: "build_node_min_count high_availability karpenter_disruption_budget_nodes \
            karpenter_enabled keda_enable max_on_demand_count min_on_demand_count \
            node_max_unavailable_percentage pdb_default_min_available_percentage \
            schedule_rack_scale_down schedule_rack_scale_up terraform_update_timeout vpa_enable \
            Autoscale AutoscaleExtra HighAvailability InstanceCount InstanceUpdateBatchSize \
            NoHAAutoscaleExtra NoHaInstanceCount OnDemandMinCount ScheduleRackScaleDown \
            ScheduleRackScaleUp SpotFleetAllocationStrategy SpotFleetAllowedInstanceTypes \
            SpotFleetExcludedInstanceTypes SpotFleetMaxPrice SpotFleetMinMemoryMiB \
            SpotFleetMinOnDemandCount SpotFleetMinVcpuCount SpotFleetTargetType SpotInstanceBid",
    },
    Group {
        name: "security",
        about: "passwords, keys, encryption, who may connect",
        parameters: "access_id disable_public_access docker_hub_password \
            ebs_volume_encryption_enabled ecr_additional_policy_arn ecr_full_access \
            ecr_scan_on_push_enable eks_access_entries eks_api_server_private_access_cidrs \
            eks_api_server_public_access_cidrs eks_log_types enable_private_access \
            high_availability imds_http_hop_limit imds_http_tokens imds_tags_enable \
            key_pair_name nlb_security_group pod_identity_agent_enable private_eks_host \
            private_eks_pass private_eks_user secret_key ssl_ciphers ssl_protocols tags token \
            webhook_signing_key whitelist BuildInstancePolicy BuildInstanceSecurityGroup \
            EnableContainerReadonlyRootFilesystem EnableSharedEFSVolumeEncryption EncryptEbs \
            Encryption HttpProxy IMDSHttpPutResponseHopLimit IMDSHttpTokens InstancePolicy \
            InstanceSecurityGroup InstancesIpToIncludInWhiteListing Key Password \
            PrivateApiSecurityGroup RouterInternalSecurityGroup RouterSecurityGroup SslPolicy \
            WhiteList",
    },
    Group {
        name: "storage",
        about: "disks, buckets, their encryption and drivers",
        parameters: "aws_ebs_csi_driver_version azure_files_enable ebs_volume_encryption_enabled \
            efs_csi_driver_enable efs_csi_driver_version karpenter_node_disk \
            karpenter_node_volume_type node_disk registry_disk \
            DynamoDbTableDeletionProtectionEnabled DynamoDbTablePointInTimeRecoveryEnabled \
            EnableS3Versioning EnableSharedEFSVolumeEncryption EncryptEbs",
    },
    Group {
        name: "versions",
        about: "versions of the cluster and its parts",
        parameters: "aws_ebs_csi_driver_version coredns_version efs_csi_driver_version \
            gpu_observability_chart_version k8s_version kube_proxy_version nginx_image \
            pod_identity_agent_version prometheus_gpu_metrics_chart_version vpc_cni_version",
    },
];

impl Group {
    /// Finds a group by its name or the beginning of it.
    pub(super) fn find(text: &str) -> Result<&'static Self, Error> {
        let text = text.trim().to_lowercase();
        if text.is_empty() {
            return Err(Error::failed(format!("group name required\n{}", list())));
        }
        let exact = GROUPS.iter().find(|group| group.name == text);
        let mut beginning = GROUPS.iter().filter(|group| group.name.starts_with(&text));
        match (exact, beginning.next(), beginning.next()) {
            (Some(group), ..) | (None, Some(group), None) => Ok(group),
            (None, None, _) => Err(Error::failed(format!(
                "group '{text}' not found\n{}",
                list()
            ))),
            (None, Some(one), Some(other)) => {
                let names: Vec<_> = [one, other]
                    .into_iter()
                    .chain(beginning)
                    .map(|group| group.name)
                    .collect();
                Err(Error::failed(format!(
                    "group '{text}' matches multiple groups: {}\n{}",
                    names.join(" "),
                    list()
                )))
            }
        }
    }

    /// Whether a parameter belongs to it.
    pub(super) fn has(&self, parameter: &str) -> bool {
        self.parameters.split(' ').any(|name| name == parameter)
    }
}

/// Every group, one to a line.
fn list() -> String {
    let mut text = "  available groups:".to_owned();
    for Group { name, about, .. } in GROUPS {
        write!(text, "\n    {name:<9}  {about}").expect("a text takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name_and_by_beginning() {
        let find = |text: &str| Group::find(text).map(|group| group.name);
        for (text, name) in [
            ("network", "network"),
            ("net", "network"),
            ("nl", "nlb"),
            (" NLB ", "nlb"),
            ("sec", "security"),
        ] {
            assert_eq!(find(text).expect(text), name);
        }
        let error = |text: &str| find(text).expect_err(text).to_string();
        assert!(error("n").starts_with("group 'n' matches multiple groups: network nlb nodes\n"));
        assert!(error("x").starts_with("group 'x' not found\n  available groups:\n    api  "));
        assert!(error("").starts_with("group name required\n"));
    }

    #[test]
    fn the_table_is_in_order_and_names_stand_alone() {
        assert!(GROUPS.is_sorted_by(|one, other| one.name < other.name));
        for group in GROUPS {
            assert!(!group.parameters.contains("  "), "{}", group.name);
        }
        let network = Group::find("network").expect("there");
        assert!(network.has("VPCCIDR") && network.has("cidr") && !network.has("VPC"));
    }
}
